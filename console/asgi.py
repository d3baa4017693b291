"""The ASGI application: pages, `/v1`, static files and websockets, each as light as it can be."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")

import django

django.setup(set_prefix=False)  # what follows imports models

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator
from django.conf import settings

from console.api_handler import ApiHandler
from console.asgi_types import App, Receive, Scope, Send
from console.forwarded import Forwarded, networks
from console.interim import Interim
from console.large_bodies import TokenFirst
from console.mcp_endpoint import PATH as MCP_PATH
from console.mcp_endpoint import McpEndpoint
from console.observing.http import Counted, Named, RoutedHandler, name_route, named_sockets
from console.preview.app import Previews
from console.request_ids import RequestIds
from console.routing import websocket_urlpatterns
from console.static import StaticFiles
from console.transfers import Transfers
from sandboxes import presign

# Served without sessions, CSRF, messages and the like: each costs every request thread hops, and
# a bearer token needs none of them.
API_PREFIXES = ("/v1/", "/api/", "/healthz", "/readyz", "/metrics")


class HttpRouter:
    """Sends a request to the lightest of the HTTP applications that can answer it."""

    def __init__(self) -> None:
        self.api = Interim(TokenFirst(ApiHandler()))
        self.pages = RoutedHandler()
        static = StaticFiles()
        self.static, self.static_prefix = Named(static, "static"), static.prefix
        self.transfers = Named(Transfers(), "files")
        self.mcp = Named(McpEndpoint(), "mcp")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name_route(scope, "none")
        await self._choose(scope["path"])(scope, receive, send)

    def _choose(self, path: str) -> App:
        if path.rstrip("/") == MCP_PATH:
            return self.mcp
        if path.startswith(API_PREFIXES):
            return self.api
        if path.startswith(self.static_prefix):
            return self.static
        if path.startswith(presign.PREFIX):
            return self.transfers
        return self.pages


console = ProtocolTypeRouter(
    {
        "http": RequestIds(HttpRouter()),
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(URLRouter(named_sockets(websocket_urlpatterns)))
        ),
    }
)
# Names of previews are told apart first: nothing of the console answers to them.
counted = Counted(Previews(console), log_requests=settings.ORKESTR_LOG_REQUESTS)
application = Forwarded(counted, trusted=networks(settings.ORKESTR_TRUSTED_PROXIES))
