"""A cell's answer: all at once, or as server-sent events."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any, Final

from django.http import HttpResponse, StreamingHttpResponse

from accounts.policy import Principal
from sandboxes.api.replies import reply
from sandboxes.api.streams import KEEP_ALIVE, REVOKED, Pulse, paced, sse, sse_response
from sandboxes.api.watch import watched
from sandboxes.code import code_client
from sandboxes.host.code.types import CodeRequest, Told
from sandboxes.host.types import HostError

_HIDDEN: Final = ("kind", "ok")


async def code_response(principal: Principal, sandbox_id: str, wanted: CodeRequest) -> HttpResponse:
    """Everything that the cell put out. Raises ``HostError``."""
    results: list[Any] = []
    texts: dict[str, list[str]] = {"stdout": [], "stderr": []}
    ending: dict[str, Any] = {}
    events = _events(principal, sandbox_id, wanted, is_buffered=True)
    async with aclosing(events):
        async for told in events:
            if told.kind == "stream":
                texts[told.body["stream"]].append(told.body["text"])
            elif told.kind == "result":
                results.append(told.body["result"])
            elif told.kind == "done":
                ending = {key: told.body[key] for key in told.body if key not in _HIDDEN}
    joined = {name: "".join(parts) for name, parts in texts.items()}
    return reply({"results": results, **joined, **ending})


async def code_stream_response(
    principal: Principal, sandbox_id: str, wanted: CodeRequest
) -> StreamingHttpResponse:
    """As it comes. What keeps the cell from running is an error of the request itself."""
    events = _events(principal, sandbox_id, wanted, is_buffered=False)
    await anext(events)
    return sse_response(_frames(principal, events))


def _events(
    principal: Principal, sandbox_id: str, wanted: CodeRequest, *, is_buffered: bool
) -> AsyncGenerator[Told, None]:
    return code_client().code_stream(
        sandbox_id, wanted, actor=principal.actor, is_buffered=is_buffered
    )


async def _frames(principal: Principal, events: AsyncGenerator[Told, None]) -> AsyncIterator[bytes]:
    with watched(principal) as ended:
        async with aclosing(paced(events, ended=ended)) as rest:
            try:
                async for told in rest:
                    yield _pulse(told) if isinstance(told, Pulse) else sse(dict(told.body))
            except HostError as error:
                yield _failed(error.code, error.message)


def _pulse(between: Pulse) -> bytes:
    return KEEP_ALIVE if between is Pulse.SILENT else _failed("token_revoked", REVOKED)


def _failed(code: str, message: str) -> bytes:
    error = {"name": "Interrupted", "value": message, "traceback": []}
    return sse({"kind": "error", "error_code": code, "error": error})
