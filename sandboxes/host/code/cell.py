"""One cell while it runs: who asked for it, who waits for it, and how it ends."""

from __future__ import annotations

import asyncio
from collections import deque
from typing import Any, Final

from sandboxes.host.code.messages import RESULTS_LIMIT, STREAM_LIMIT, CodeError, Result
from sandboxes.host.code.record import Record
from sandboxes.host.code.types import CodeRequest, Told
from sandboxes.host.types import Box, HostError, Stream
from timeline.events import Actor, now_us

#: What may wait for a slow reader before the kernel has to wait too.
WAITING: Final = 16


class Listener:
    """A queue to one caller. Nothing waits for one who has left, or once it is hurried."""

    def __init__(self, *, present: bool = True) -> None:
        self._told: deque[Told | HostError] = deque()
        self._news = asyncio.Event()
        self._room = asyncio.Event()
        self._present = present
        self._hurried = False

    async def put(self, told: Told) -> None:
        while self._present and not self._hurried and len(self._told) >= WAITING:
            self._room.clear()
            await self._room.wait()
        self._push(told)

    def fail(self, error: HostError) -> None:
        self._push(error)

    def _push(self, item: Told | HostError) -> None:
        if self._present:
            self._told.append(item)
            self._news.set()

    async def next(self) -> Told:
        """Raises the ``HostError`` that ended the cell, if one did."""
        while not self._told:
            self._news.clear()
            await self._news.wait()
        item = self._told.popleft()
        self._room.set()
        if isinstance(item, HostError):
            raise item
        return item

    def hurry(self) -> None:
        """The cell's time is over: its end must not wait for a reader."""
        self._hurried = True
        self._room.set()

    def leave(self) -> None:
        self._present = False
        self._told.clear()
        self._room.set()


class Cell:
    """``left`` is the running time that remains when it (or this host) begins."""

    def __init__(
        self, box: Box, request: CodeRequest, actor: Actor, *, listener: Listener | None = None
    ) -> None:
        self.request = request
        self.record = Record(box, request, actor)
        self.listener = listener or Listener(present=False)
        self.over: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.left = request.timeout_seconds
        self.began_at = now_us()
        self.error: CodeError | None = None
        self.interrupted = False
        self.restarted = False
        self._truncated: list[str] = []
        self._room: dict[Stream, int] = {"stdout": STREAM_LIMIT, "stderr": STREAM_LIMIT}
        self._results = 0

    @property
    def id(self) -> str:
        return self.request.cell_id

    @property
    def actor(self) -> Actor:
        return self.record.actor

    async def printed(self, stream: Stream, text: str, *, offset: int) -> None:
        self.record.printed(stream, text, offset=offset)
        kept = text[: self._room[stream]]
        self._room[stream] -= len(kept)
        if len(kept) < len(text):
            self._cut(stream)
        if kept:
            body = {"kind": "stream", "stream": stream, "text": kept}
            await self.listener.put(Told("stream", body))

    async def resulted(self, result: Result, *, offset: int) -> None:
        self._results += 1
        if self._results > RESULTS_LIMIT:
            self._cut("results")
            return
        self.record.result(result, offset=offset)
        body = {"kind": "result", "result": result.to_json()}
        await self.listener.put(Told("result", body))

    async def raised(self, error: CodeError, *, offset: int) -> None:
        """The last of several counts: the others were shown by code that went on."""
        self.error = error
        self.record.raised(error, offset=offset)
        await self.listener.put(Told("error", {"kind": "error", "error": error.to_json()}))

    def _cut(self, name: str) -> None:
        if name not in self._truncated:
            self._truncated.append(name)

    def ending(self, *, count: int | None, truncated: tuple[str, ...]) -> dict[str, Any]:
        """All of its end but the error, for callers and for the timeline."""
        for name in truncated:
            self._cut(name)
        return {
            "context_id": self.request.context_id,
            "execution_count": count,
            "duration_ms": max(0, now_us() - self.began_at) // 1000,
            "interrupted": self.interrupted,
            "restarted": self.restarted,
            "truncated": self._truncated,
        }

    def status(self) -> str:
        """``ok``, ``error``, ``interrupted`` or ``lost``: how the timeline shows it."""
        if self.interrupted:
            return "interrupted"
        if self.error is None:
            return "ok"
        return "lost" if self.error.name in ("KernelDied", "KernelRestarted") else "error"

    async def answer(self, ending: dict[str, Any]) -> None:
        """Tell the caller the end."""
        error = self.error.to_json() if self.error else None
        body = {"kind": "done", "ok": True, "error": error, **ending}
        self.listener.hurry()
        await self.listener.put(Told("done", body))
        if not self.over.done():
            self.over.set_result(None)

    def fail(self, error: HostError) -> None:
        """It never began, or this host no longer follows it."""
        self.listener.fail(error)
        if not self.over.done():
            self.over.set_result(None)
