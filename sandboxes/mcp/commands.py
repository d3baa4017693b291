"""Running a command for an agent: both ends of what it wrote, and progress while it runs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final, cast

from sandboxes.api.streams import Pulse, paced
from sandboxes.host.types import Chunk, ExecEvent, ExecOutcome, ExecRequest, Exited, HostError
from sandboxes.services import host_client
from timeline.events import Actor

KEPT_BYTES: Final = 128 * 1024
"""Of each stream: the first half of it, and the last."""
TELL_SECONDS: Final = 1.0
_LINE: Final = 200

Tell = Callable[[float, float, str], Awaitable[None]]
"""Seconds gone, seconds there are, and the last line of output."""


class Ends:
    """The first and the last of a stream; what is between them is counted and let go."""

    def __init__(self, limit: int = KEPT_BYTES) -> None:
        self._half = limit // 2
        self._first = bytearray()
        self._last = bytearray()
        self.left_out = 0

    def put(self, data: bytes) -> None:
        room = self._half - len(self._first)
        self._first += data[:room] if room > 0 else b""
        self._last += data[max(0, room) :]
        if len(self._last) > 2 * self._half:
            self._cut()

    def whole(self) -> bytes:
        """With a line in place of what was left out."""
        self._cut()
        if not self.left_out:
            return bytes(self._first + self._last)
        between = f"\n… {self.left_out} bytes left out …\n".encode()
        return bytes(self._first) + between + bytes(self._last)

    @property
    def line(self) -> str:
        """The last line that has something in it."""
        tail = bytes((self._last or self._first)[-4 * _LINE :]).decode("utf-8", "replace")
        lines = [line.strip() for line in tail.splitlines()]
        return next((line for line in reversed(lines) if line), "")[-_LINE:]

    def _cut(self) -> None:
        beyond = len(self._last) - self._half
        if beyond > 0:
            del self._last[:beyond]
            self.left_out += beyond


async def command_run(
    sandbox_id: str, wanted: ExecRequest, *, actor: Actor, tell: Tell | None
) -> ExecOutcome:
    """A command's end. Raises ``HostError``. Who goes away does not stop it."""
    ends = {"stdout": Ends(), "stderr": Ends()}
    exited: Exited | None = None
    events = _events(sandbox_id, wanted, actor)
    async with aclosing(_told(events, ends, wanted, tell) if tell else events) as coming:
        async for event in coming:
            if isinstance(event, Chunk):
                ends[event.stream].put(event.data)
            elif isinstance(event, Exited):
                exited = event
    if exited is None:
        raise HostError("agent_lost", "The command ended with what it ran in; nobody saw how.")
    return ExecOutcome(
        stdout=ends["stdout"].whole(),
        stderr=ends["stderr"].whole(),
        stdout_dropped=ends["stdout"].left_out,
        stderr_dropped=ends["stderr"].left_out,
        exit_code=exited.exit_code,
        signal=exited.signal,
        duration_ms=exited.duration_ms,
        timed_out=exited.timed_out,
    )


def _events(sandbox_id: str, wanted: ExecRequest, actor: Actor) -> AsyncGenerator[ExecEvent, None]:
    stream = host_client().exec_stream(sandbox_id, wanted, actor=actor)
    return cast(AsyncGenerator[ExecEvent, None], stream)


async def _told(
    events: AsyncGenerator[ExecEvent, None], ends: dict[str, Ends], wanted: ExecRequest, tell: Tell
) -> AsyncGenerator[ExecEvent, None]:
    """``events``, with ``tell`` once a second between them."""
    began = told = time.monotonic()
    latest = "stdout"
    async with aclosing(paced(events, ended=asyncio.Event(), silence=TELL_SECONDS)) as coming:
        async for event in coming:
            if not isinstance(event, Pulse):
                yield event
                latest = event.stream if isinstance(event, Chunk) else latest
            now = time.monotonic()
            if now - told >= TELL_SECONDS:
                told = now
                gone = round(now - began, 1)
                await tell(gone, wanted.timeout_seconds, ends[latest].line or f"{gone:.0f} s")
