"""Counts requests and websockets by the name of their route, and logs requests when asked to."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any, Final

import structlog
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.http import HttpRequest
from django.urls import ResolverMatch, URLPattern
from prometheus_client import Counter, Gauge, Histogram

from console.asgi_types import App, Message, Receive, Scope, Send
from timeline.metrics import SECONDS

_KEY: Final = "orkestr.route"
_METHODS: Final = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
#: The websocket close codes that this platform sends; of others only that they were others.
_CODES: Final = frozenset({1000, 1001, 1005, 1006, 1011, 4400, 4401, 4403, 4404, 4410})

requests = Counter(
    "orkestr_http_requests_total",
    "Answers begun, by the pattern of the route (none: no such address).",
    ["route", "method", "status"],
)
request_seconds = Histogram(
    "orkestr_http_request_seconds",
    "From a request's arrival until its answer began; streams go on after that.",
    ["route", "method"],
    buckets=SECONDS,
)
open_requests = Gauge(
    "orkestr_http_open_requests",
    "Requests being answered, streams among them.",
    multiprocess_mode="livesum",
)
open_sockets = Gauge(
    "orkestr_websockets_open",
    "Open websockets, by the pattern of their route.",
    ["route"],
    multiprocess_mode="livesum",
)
sockets = Counter("orkestr_websockets_total", "Websockets that were accepted.", ["route"])
closes = Counter(
    "orkestr_websocket_closes_total",
    "Websockets that ended, by their code, or by who left.",
    ["route", "code"],
)

_log = structlog.get_logger("console.requests")


class Route:
    """The pattern that a request's address matched. Copies of a scope share it."""

    def __init__(self, name: str) -> None:
        self.name = name


def name_route(scope: Mapping[str, Any], name: str) -> None:
    """What a request will be counted as."""
    route = scope.get(_KEY)
    if route is not None:
        route.name = name


class Named:
    """An application whose requests are all counted under one name."""

    def __init__(self, app: App, name: str) -> None:
        self._app = app
        self._name = name

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        name_route(scope, self._name)
        await self._app(scope, receive, send)


def named_sockets(patterns: list[URLPattern]) -> list[URLPattern]:
    """Websocket routes, each of which counts under its own pattern."""
    return [
        URLPattern(each.pattern, Named(each.callback, str(each.pattern)), each.default_args)
        for each in patterns
    ]


class RoutedHandler(ASGIHandler):
    """Django's handler, which tells the counting and the log what an address turned out to be."""

    def resolve_request(self, request: HttpRequest) -> ResolverMatch:
        match: ResolverMatch = super().resolve_request(request)
        if isinstance(request, ASGIRequest):
            name_route(request.scope, match.route or "/")
        if sandbox_id := match.kwargs.get("sandbox_id"):
            structlog.contextvars.bind_contextvars(sandbox_id=sandbox_id)
        return match


class Counted:
    """Wraps the whole application. ``log_requests`` writes a line for each answer that begins."""

    def __init__(self, app: App, *, log_requests: bool) -> None:
        self._app = app
        self._log_requests = log_requests

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope[_KEY] = Route("preview")
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await _websocket(self._app, scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.perf_counter()

        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._begun(scope, message["status"], time.perf_counter() - began)
            await send(message)

        with open_requests.track_inprogress():
            await self._app(scope, receive, counting)

    def _begun(self, scope: Scope, status: int, seconds: float) -> None:
        route = scope[_KEY].name
        method = scope["method"] if scope["method"] in _METHODS else "other"
        requests.labels(route, method, status).inc()
        request_seconds.labels(route, method).observe(seconds)
        if self._log_requests:
            _log.info(
                "request",
                method=method,
                route=route,
                status=status,
                duration_ms=round(seconds * 1000, 1),
            )


async def _websocket(app: App, scope: Scope, receive: Receive, send: Send) -> None:
    state: dict[str, Any] = {"open": "", "code": ""}

    async def sending(message: Message) -> None:
        if message["type"] == "websocket.accept" and not state["open"]:
            state["open"] = scope[_KEY].name
            sockets.labels(state["open"]).inc()
            open_sockets.labels(state["open"]).inc()
        elif message["type"] == "websocket.close" and not state["code"]:
            state["code"] = _code(message.get("code", 1000))
        await send(message)

    async def receiving() -> Message:
        message = await receive()
        if message["type"] == "websocket.disconnect" and not state["code"]:
            state["code"] = "client"
        return message

    try:
        await app(scope, receiving, sending)
    finally:
        if state["open"]:
            open_sockets.labels(state["open"]).dec()
        route = state["open"] or scope[_KEY].name
        closes.labels(route, state["code"] or "client").inc()


def _code(code: object) -> str:
    return str(code) if code in _CODES else "other"
