"""The ASGI application: pages, `/v1`, static files and websockets, each as light as it can be."""

from __future__ import annotations

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")

from django.core.asgi import get_asgi_application

pages = get_asgi_application()  # sets Django up; what follows imports models

from channels.auth import AuthMiddlewareStack
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator

from console.api_handler import ApiHandler
from console.asgi_types import App, Receive, Scope, Send
from console.interim import Interim
from console.mcp_endpoint import PATH as MCP_PATH
from console.mcp_endpoint import McpEndpoint
from console.preview.app import Previews
from console.request_ids import RequestIds
from console.routing import websocket_urlpatterns
from console.static import StaticFiles
from console.transfers import Transfers
from sandboxes import presign

# Served without sessions, CSRF, messages and the like: each costs every request thread hops, and
# a bearer token needs none of them.
API_PREFIXES = ("/v1/", "/api/", "/healthz", "/readyz")


class HttpRouter:
    """Sends a request to the lightest of the HTTP applications that can answer it."""

    def __init__(self) -> None:
        self.api = Interim(ApiHandler())
        self.static = StaticFiles()
        self.transfers = Transfers()
        self.mcp = McpEndpoint()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._choose(scope["path"])(scope, receive, send)

    def _choose(self, path: str) -> App:
        if path.rstrip("/") == MCP_PATH:
            return self.mcp
        if path.startswith(API_PREFIXES):
            return self.api
        if path.startswith(self.static.prefix):
            return self.static
        if path.startswith(presign.PREFIX):
            return self.transfers
        return pages


console = ProtocolTypeRouter(
    {
        "http": RequestIds(HttpRouter()),
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(URLRouter(websocket_urlpatterns))
        ),
    }
)
# Names of previews are told apart first: nothing of the console answers to them.
application = Previews(console)
