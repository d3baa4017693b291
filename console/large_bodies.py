"""Requests of the API with a large body: the token is judged before any of it is read.

The server starts the application of such a request with its headers (``is_large``); of others it
has read the few bytes by then. The route judges once more what a token may do, when all has come:
it may have been revoked meanwhile.
"""

from __future__ import annotations

from typing import Final

from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.db import InterfaceError, OperationalError
from django.http import HttpResponse

from accounts.origin import origin_of_scope
from accounts.tokens import Refused
from console.asgi_types import App, Message, Receive, Scope, Send
from console.observing.http import name_route
from sandboxes.api.access import Call, admitted
from sandboxes.api.errors import Answer, answer_for, failure

LARGE_BYTES: Final = 64 * 1024
#: What is asked without a token of the API has no use for a large body.
WITHOUT_TOKEN: Final = ("/api/auth/device/", "/healthz", "/readyz", "/metrics")
AWAY: Final = (Refused, OperationalError, InterfaceError)
"""Why nobody can be admitted."""


def is_large(length: int | None) -> bool:
    """By the length that the headers tell, None for a body in chunks."""
    return length is None or length > LARGE_BYTES


class TokenFirst:
    """The API, behind a look at the token of whoever announces a large body."""

    def __init__(self, app: App) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if not has_large_body(scope):
            await self._app(scope, receive, send)
            return
        refusal = await early_refusal(scope)
        if refusal is not None:
            name_route(scope, "large body")
            await answer(refusal, send)
            return
        try:
            await self._app(scope, bounded(receive), send)
        except RequestDataTooBig as error:
            await answer(answer_for(error), send)


def has_large_body(scope: Scope) -> bool:
    """Whether the application was started before the body was there."""
    headers = dict(scope["headers"])
    if b"transfer-encoding" in headers:
        return True
    length = headers.get(b"content-length", b"0")
    return is_large(int(length) if length.isdigit() else None)


async def early_refusal(scope: Scope) -> HttpResponse | None:
    """What to answer instead of reading, or None to read on."""
    if scope["path"].startswith(WITHOUT_TOKEN):
        kibibytes = LARGE_BYTES // 1024
        return failure(Answer(413, "too_large"), f"A body may have {kibibytes} KiB here.")
    try:
        await caller(scope, sandbox_id=None)
    except AWAY as error:
        return answer_for(error)
    return None


async def caller(scope: Scope, *, sandbox_id: str | None) -> Call:
    """Who asks, by the token of the headers. Raises one of ``AWAY``."""
    header = dict(scope["headers"]).get(b"authorization", b"").decode("latin1")
    origin = origin_of_scope(scope)
    return await admitted(authorization=header, sandbox_id=sandbox_id, origin=origin)


def bounded(receive: Receive) -> Receive:
    """``receive``, which raises ``RequestDataTooBig`` for a body in chunks beyond the limit."""
    size = 0

    async def next_message() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > settings.REQUEST_BODY_MAX_BYTES:
            raise RequestDataTooBig
        return message

    return next_message


async def answer(response: HttpResponse, send: Send) -> None:
    """A whole answer of Django's, without Django."""
    pairs = [(name.lower().encode(), value.encode("latin1")) for name, value in response.items()]
    await send({"type": "http.response.start", "status": response.status_code, "headers": pairs})
    await send({"type": "http.response.body", "body": response.content, "more_body": False})
