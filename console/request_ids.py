"""Every answer carries an `x-request-id`: the caller's own, or one made here."""

from __future__ import annotations

import re
import secrets

import structlog

from console.asgi_types import App, Message, Receive, Scope, Send

HEADER = b"x-request-id"
# What is safe in a log line and in a header, and no longer than anything sensible.
_SANE = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")


class RequestIds:
    """Wraps an HTTP application; the id is in every log record of the request as ``request_id``."""

    def __init__(self, app: App) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request_id = request_id_of(scope["headers"])

        async def send_with_id(message: Message) -> None:
            if message["type"] == "http.response.start":
                kept = [pair for pair in message["headers"] if pair[0].lower() != HEADER]
                message = {**message, "headers": [*kept, (HEADER, request_id)]}
            await send(message)

        with structlog.contextvars.bound_contextvars(request_id=request_id.decode()):
            await self.app(scope, receive, send_with_id)


def request_id_of(headers: list[tuple[bytes, bytes]]) -> bytes:
    """The caller's own id when it is one plain word of at most 128 characters, else a new one."""
    for name, value in headers:
        if name == HEADER and _SANE.fullmatch(value):
            return value
    return b"req_" + secrets.token_hex(12).encode()
