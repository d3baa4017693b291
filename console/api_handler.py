"""Django's ASGI handler for `/v1`, without middleware, request signals and threads of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIRequest
from django.core.handlers.exception import convert_exception_to_response
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import set_script_prefix

from console.asgi_types import Receive, Scope, Send
from console.observing.http import RoutedHandler


class ApiHandler(RoutedHandler):
    """Routes and exceptions as ever; ``settings.MIDDLEWARE`` is for pages only.

    A request here has no ``session``, no ``user`` and needs no CSRF token. Django's signals would
    start two threads for each request to tidy up database connections; views here reach the
    database through ``accounts.database``, which looks after its own.
    """

    # Private names of Django's handler: typed here because its stubs leave them out.
    _view_middleware: list[Any]
    _template_response_middleware: list[Any]
    _exception_middleware: list[Any]
    _get_response_async: Callable[[HttpRequest], Awaitable[HttpResponseBase]]

    def load_middleware(self, is_async: bool = False) -> None:
        self._view_middleware = []
        self._template_response_middleware = []
        self._exception_middleware = []
        self._middleware_chain = convert_exception_to_response(self._get_response_async)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            body = await self.read_body(receive)
        except RequestAborted:
            return
        with body:
            set_script_prefix(scope.get("root_path", "") + "/")
            request, refusal = self.create_request(scope, body)
            if request is not None:
                await self._until_gone(request, receive, send)
            elif refusal is not None:
                await self.send_response(refusal, send)

    async def _until_gone(self, request: ASGIRequest, receive: Receive, send: Send) -> None:
        """Answer, unless the caller leaves first: then the view is cancelled."""
        answering = asyncio.create_task(self._answer(request, send))
        leaving = asyncio.ensure_future(self.listen_for_disconnect(receive))
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (leaving, answering):
                task.cancel()
        with suppress(asyncio.CancelledError, RequestAborted):
            await leaving
        with suppress(asyncio.CancelledError):
            await answering

    async def _answer(self, request: ASGIRequest, send: Send) -> None:
        response = await self.get_response_async(request)
        try:
            await self.send_response(response, send)
        finally:
            closers: list[Callable[[], None]] = getattr(response, "_resource_closers", [])
            for close in closers:
                close()
