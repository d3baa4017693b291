"""Watching and driving a terminal without a browser."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from typing import Any

from ulid import ULID

from sandboxes.host.terminals.client import Attendance, TerminalClient
from sandboxes.host.terminals.types import Size, TerminalRequest, Visitor
from sandboxes.host.types import HostError
from timeline.events import Actor

ANN = Actor("person", id="1", name="Ann")
BEN = Actor("person", id="2", name="Ben")
SECONDS = 10.0


def new_terminal(*, cwd: str = "/workspace", size: Size | None = None) -> TerminalRequest:
    return TerminalRequest(f"trm_{ULID()}", size or Size(), cwd)


class Visit:
    """What one visitor has seen and heard. What comes is acknowledged, unless it is ``slow``."""

    def __init__(self, attendance: Attendance) -> None:
        self.attendance = attendance
        self.shown = bytearray()
        self.heard: dict[str, Mapping[str, Any]] = {}
        self.refused: list[bytes] = []
        self.screens = 0
        self.slow = False
        self.total = 0
        self.error: HostError | None = None
        self._news = asyncio.Event()

    async def listen(self) -> None:
        try:
            while "closed" not in self.heard:
                await self._hear()
        except HostError as error:
            self.error = error
        finally:
            self._news.set()

    async def _hear(self) -> None:
        frame = await self.attendance.next()
        kind = frame.header["kind"]
        if kind == "screen":
            self.screens += 1
            self.shown.clear()
        if kind == "refused":
            self.refused.append(frame.payload)
        elif kind in {"screen", "output"}:
            self.shown += frame.payload
            self.total += len(frame.payload)
            if not self.slow:
                with suppress(HostError):  # what has gone says why in its last word
                    await self.attendance.acknowledge(self.total)
        self.heard[kind] = frame.header
        self._news.set()

    async def until(self, condition: Callable[[], bool], *, what: str) -> None:
        """Waits for something that is seen or heard."""
        with suppress(TimeoutError):
            async with asyncio.timeout(SECONDS):
                while not condition():
                    assert self.error is None, self.error
                    self._news.clear()
                    await self._news.wait()
        assert condition(), f"{what}: {bytes(self.shown[-400:])!r} {self.heard}"

    async def fails(self) -> str:
        """The code of the error that ends the visit."""
        async with asyncio.timeout(SECONDS):
            while self.error is None:
                self._news.clear()
                await self._news.wait()
        return self.error.code

    async def sees(self, text: str) -> None:
        await self.until(lambda: text.encode() in self.shown, what=f"sees {text}")

    async def hears(self, kind: str, **fields: object) -> None:
        def heard() -> bool:
            header = self.heard.get(kind, {})
            return bool(header) and all(header.get(key) == value for key, value in fields.items())

        await self.until(heard, what=f"hears {kind} {fields}")

    async def line(self, text: str) -> None:
        await self.attendance.type(text.encode() + b"\r")


@asynccontextmanager
async def visit(
    client: TerminalClient,
    sandbox_id: str,
    terminal_id: str,
    actor: Actor = ANN,
    *,
    drives: bool = True,
    seat: str = "",
    page: str = "",
) -> AsyncIterator[Visit]:
    visitor = Visitor(actor, drives, seat, page)
    async with client.terminal_attend(sandbox_id, terminal_id, visitor) as attendance:
        visit = Visit(attendance)
        listening = asyncio.create_task(visit.listen())
        try:
            yield visit
        finally:
            listening.cancel()
            await asyncio.gather(listening, return_exceptions=True)
