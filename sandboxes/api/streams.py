"""Answers as server-sent events: what comes as it comes, and signs of life in between."""

from __future__ import annotations

import asyncio
import base64
import math
import time
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing, suppress
from enum import Enum
from typing import Any, Final, TypeVar, cast

import orjson
from django.http import StreamingHttpResponse

from accounts.policy import Principal
from sandboxes.api import errors
from sandboxes.api.watch import watched
from sandboxes.background import background_client
from sandboxes.host.types import Chunk, ExecEvent, ExecRequest, Exited, HostError, Started
from sandboxes.services import host_client

T = TypeVar("T")

SILENCE_SECONDS: Final = 15.0
KEEP_ALIVE: Final = b": keep-alive\n\n"
REVOKED: Final = "The token of this stream was revoked or has expired; use another."
LATE: Final = "The time to follow is over; the command runs on, so follow it again from here."


class Pulse(Enum):
    """What ``paced`` says between events."""

    SILENT = 0
    ENDED = 1
    LATE = 2


def sse(payload: dict[str, Any], *, event_id: int | None = None) -> bytes:
    """One server-sent event."""
    head = b"" if event_id is None else b"id: %d\n" % event_id
    return b"%sdata: %s\n\n" % (head, orjson.dumps(payload))


def sse_response(frames: AsyncIterator[bytes]) -> StreamingHttpResponse:
    """An answer that no proxy should hold back."""
    response = StreamingHttpResponse(frames, content_type="text/event-stream")
    response["Cache-Control"] = "no-cache"
    response["X-Accel-Buffering"] = "no"
    return response


async def paced(
    source: AsyncGenerator[T, None],
    *,
    ended: asyncio.Event,
    silence: float = SILENCE_SECONDS,
    seconds: float = math.inf,
) -> AsyncGenerator[T | Pulse, None]:
    """``source``, with ``SILENT`` whenever it had nothing for so long.

    The last is ``ENDED``, or ``LATE`` when ``seconds`` have passed.
    """
    deadline = time.monotonic() + seconds
    stop = asyncio.ensure_future(ended.wait())
    step: asyncio.Future[T] | None = None
    try:
        while True:
            step = step or asyncio.ensure_future(anext(source))
            waiting: set[asyncio.Future[Any]] = {stop, step}
            left = deadline - time.monotonic()
            patience = max(0.0, min(silence, left))
            await asyncio.wait(waiting, timeout=patience, return_when=asyncio.FIRST_COMPLETED)
            if stop.done() or left <= 0:
                yield Pulse.ENDED if stop.done() else Pulse.LATE
                return
            if not step.done():
                yield Pulse.SILENT
                continue
            finished, step = step, None
            try:
                item = finished.result()
            except StopAsyncIteration:
                return
            yield item
    finally:
        await _abandon(stop, step)
        await source.aclose()


async def _abandon(*futures: asyncio.Future[Any] | None) -> None:
    for future in futures:
        if future is not None:
            future.cancel()
            with suppress(asyncio.CancelledError, StopAsyncIteration, HostError):
                await future


async def exec_stream_response(
    principal: Principal, sandbox_id: str, wanted: ExecRequest
) -> StreamingHttpResponse:
    """A streamed command. What keeps it from starting is an error of the request itself."""
    stream = host_client().exec_stream(sandbox_id, wanted, actor=principal.actor)
    events = cast(AsyncGenerator[ExecEvent, None], stream)
    first = await anext(events)
    frames = _exec_frames(principal, first, events, wanted.timeout_seconds)
    return sse_response(frames)


async def follow_response(
    principal: Principal, sandbox_id: str, command_id: str, *, offset: int, seconds: float
) -> StreamingHttpResponse:
    """A background command's output, until it ends or ``seconds`` have passed."""
    events = background_client().background_follow(sandbox_id, command_id, offset=offset)
    first = await anext(events)
    return sse_response(_exec_frames(principal, first, events, seconds, follows=True))


async def _exec_frames(
    principal: Principal,
    first: ExecEvent,
    events: AsyncGenerator[ExecEvent, None],
    seconds: float,
    *,
    follows: bool = False,
) -> AsyncIterator[bytes]:
    """With ``follows`` the stream ends after ``seconds``, not the command."""
    yield _exec_frame(first, seconds)
    limit = seconds if follows else math.inf
    with watched(principal) as ended:
        async with aclosing(paced(events, ended=ended, seconds=limit)) as rest:
            try:
                async for event in rest:
                    yield (
                        pulse(event) if isinstance(event, Pulse) else _exec_frame(event, seconds)
                    )
            except HostError as error:
                yield sse({"kind": "error", "code": error.code, "message": error.message})


def pulse(between: Pulse) -> bytes:
    """What is sent between events."""
    if between is Pulse.SILENT:
        return KEEP_ALIVE
    if between is Pulse.LATE:
        return sse({"kind": "error", "code": "exec_timeout", "message": LATE})
    return sse({"kind": "error", "code": "token_revoked", "message": REVOKED})


def _exec_frame(event: ExecEvent, seconds: float) -> bytes:
    if isinstance(event, Started):
        return sse({"kind": "exec_started", "pid": event.pid})
    if isinstance(event, Chunk):
        data = base64.b64encode(event.data).decode("ascii")
        return sse({"kind": "exec_chunk", "stream": event.stream, "data": data})
    return sse(_ending(event, seconds))


def _ending(event: Exited, seconds: float) -> dict[str, Any]:
    if event.timed_out:
        return {"kind": "error", "code": "exec_timeout", "message": errors.timed_out(seconds)}
    if event.exit_code is None:
        signal = event.signal or 0
        message = errors.killed(signal)
        return {"kind": "error", "code": "exec_killed", "message": message, "signal": signal}
    return {"kind": "exec_exited", "code": event.exit_code, "duration_ms": event.duration_ms}
