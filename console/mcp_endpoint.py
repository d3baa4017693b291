"""The Model Context Protocol over Streamable HTTP, beside Django: who calls, how many, how long.

Each request stands by itself, so any number of server processes share the work: there is no session
to lose or to steal. What the SDK sees has passed the same token check as `/v1`.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from typing import Any, Final, cast
from urllib.parse import urlsplit

import orjson
from django.conf import settings
from django.core.exceptions import RequestDataTooBig
from django.http import HttpResponse
from django.http.request import split_domain_port, validate_host
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager

from accounts.tokens import Refused
from console.asgi_types import Message, Receive, Scope, Send
from console.large_bodies import AWAY, answer, bounded, caller, early_refusal, has_large_body
from sandboxes.api.access import Call
from sandboxes.api.errors import Answer, answer_for, failure
from sandboxes.api.streams import REVOKED
from sandboxes.api.watch import watched
from sandboxes.mcp.server import CALL, server

PATH: Final = "/api/sandboxes/mcp"
CALLS_AT_ONCE: Final = 32
"""Of one token, in one server process."""
_INVALID: Final = -32600


@dataclass(frozen=True, slots=True)
class Asked:
    """As much of a message as is needed before the SDK reads it."""

    id: Any = None
    sandbox_id: str | None = None


class McpEndpoint:
    """The ASGI application at ``PATH``."""

    def __init__(self) -> None:
        self._sessions = _Sessions()
        self._busy: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = _headers(scope)
        refusal = _refusal(scope["method"], headers)
        if refusal is not None:
            await answer(refusal, send)
            return
        refusal = await early_refusal(scope) if has_large_body(scope) else None
        if refusal is not None:
            await answer(refusal, send)
            return
        try:
            body = await _body(bounded(receive))
        except RequestDataTooBig as error:
            await answer(answer_for(error), send)
            return
        if body is None:
            return
        await self._answered(scope, receive, send, body)

    async def _answered(self, scope: Scope, receive: Receive, send: Send, body: bytes) -> None:
        asked = _asked(body)
        try:
            call = await caller(scope, sandbox_id=asked.sandbox_id)
        except AWAY as error:
            await answer(answer_for(error), send)
            return
        with self._place(call) as has_place:
            if not has_place:
                await answer(_too_many(), send)
                return
            again = _Replay(body, receive)
            await self._serve({**scope, CALL: call}, again, _Sender(send, asked), call)

    @contextmanager
    def _place(self, call: Call) -> Iterator[bool]:
        token_id = call.principal.token_id or ""
        if self._busy[token_id] >= CALLS_AT_ONCE:
            yield False
            return
        self._busy[token_id] += 1
        try:
            yield True
        finally:
            self._busy[token_id] -= 1
            if not self._busy[token_id]:
                del self._busy[token_id]

    async def _serve(self, scope: Scope, receive: Receive, sender: _Sender, call: Call) -> None:
        """Until it is answered, or its token is no longer good."""
        manager = await self._sessions.manager()
        with watched(call.principal) as ended:
            serving = asyncio.ensure_future(_handled(manager, scope, receive, sender))
            revoked = asyncio.ensure_future(ended.wait())
            try:
                await asyncio.wait({serving, revoked}, return_when=asyncio.FIRST_COMPLETED)
                if serving.done():
                    serving.result()
                    return
            finally:
                revoked.cancel()
                serving.cancel()
                with suppress(asyncio.CancelledError):
                    await serving
        await sender.revoked()


async def _handled(
    manager: StreamableHTTPSessionManager, scope: Scope, receive: Receive, sender: _Sender
) -> None:
    # The SDK's own types ask for messages that it may change; it changes none.
    await manager.handle_request(scope, cast(Any, receive), sender.send)


class _Sessions:
    """The SDK's manager, begun with the first request: Daphne knows no lifespan."""

    def __init__(self) -> None:
        self._ready: asyncio.Future[StreamableHTTPSessionManager] | None = None
        self._running: asyncio.Task[None] | None = None

    async def manager(self) -> StreamableHTTPSessionManager:
        if self._ready is None or self._running is None or self._running.done():
            self._ready = asyncio.get_running_loop().create_future()
            self._running = asyncio.create_task(self._run(self._ready))
        return await asyncio.shield(self._ready)

    async def _run(self, ready: asyncio.Future[StreamableHTTPSessionManager]) -> None:
        manager = StreamableHTTPSessionManager(
            server, stateless=True, max_request_body_size=settings.REQUEST_BODY_MAX_BYTES
        )
        async with manager.run():
            ready.set_result(manager)
            await asyncio.Event().wait()


class _Sender:
    """An answer's way out, which knows how to end one that has begun."""

    def __init__(self, send: Send, asked: Asked) -> None:
        self._send = send
        self._asked = asked
        self._begun = False

    async def send(self, message: Message) -> None:
        self._begun = True
        await self._send(message)

    async def revoked(self) -> None:
        """A last message of the stream, or an answer where there was none yet."""
        if not self._begun:
            await answer(answer_for(Refused(REVOKED)), self._send)
            return
        error = {"code": _INVALID, "message": REVOKED}
        message = orjson.dumps({"jsonrpc": "2.0", "id": self._asked.id, "error": error})
        event = b"event: message\r\ndata: %s\r\n\r\n" % message
        await self._send({"type": "http.response.body", "body": event, "more_body": False})


class _Replay:
    """Gives a body that was read already, and then whatever comes."""

    def __init__(self, body: bytes, receive: Receive) -> None:
        self._first: Message | None = {"type": "http.request", "body": body, "more_body": False}
        self._receive = receive

    async def __call__(self) -> Message:
        if self._first is None:
            return await self._receive()
        first, self._first = self._first, None
        return first


def _refusal(method: str, headers: dict[str, str]) -> HttpResponse | None:
    if not _is_ours(headers.get("host", "")):
        return failure(Answer(421), "This server does not answer to that Host name.")
    if "origin" in headers and not _is_ours(urlsplit(headers["origin"]).netloc):
        return failure(Answer(403), "Pages of other origins may not call this.")
    if method != "POST":
        response = failure(Answer(405), "Send messages with POST; there are no sessions to open.")
        response["Allow"] = "POST"
        return response
    return None


def _is_ours(host: str) -> bool:
    """By the names that pages are served under."""
    domain, _ = split_domain_port(host)
    return bool(domain) and validate_host(domain, settings.ALLOWED_HOSTS)


def _too_many() -> HttpResponse:
    sentence = f"This token has {CALLS_AT_ONCE} calls under way; wait for one of them to end."
    return failure(Answer(429, "busy", retry=True), sentence)


def _asked(body: bytes) -> Asked:
    """Whatever is malformed is for the SDK to refuse."""
    try:
        message = orjson.loads(body)
        arguments = message.get("params", {}).get("arguments", {})
        sandbox_id = arguments.get("sandbox_id")
        return Asked(message.get("id"), sandbox_id if isinstance(sandbox_id, str) else None)
    except (ValueError, AttributeError):
        return Asked()


async def _body(receive: Receive) -> bytes | None:
    """None when the caller has left."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _headers(scope: Scope) -> dict[str, str]:
    return {name.decode("latin1"): value.decode("latin1") for name, value in scope["headers"]}
