"""Background commands of one sandbox: which there are, their output so far, following and killing.

They run and are recorded like every other command (``commands.py``); here is what can be asked
about them afterwards. Output is read from the file that the record keeps, so that any number of
readers at any pace cost the command nothing.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Final

from sandboxes.host.agent import questions
from sandboxes.host.agent.frames import Ended
from sandboxes.host.ledger import BackgroundCommand, Ledger, Slice
from sandboxes.host.output import unfinished_character
from sandboxes.host.types import Box, Chunk, ExecEvent, ExecRequest, Exited, HostError, Started

#: Bytes of output in one answer, and in one chunk of a stream.
SLICE: Final = 1024 * 1024
CHUNK: Final = 32 * 1024
#: TERM, two seconds, KILL, and time to take note of it.
KILL_SECONDS: Final = 10.0


class Background:
    """One per ``Commands``, which says what happens to the commands."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self._directory = box.directory / "commands"
        self._ledger = Ledger(self._directory)
        self._news: dict[str, asyncio.Event] = {}
        self._is_closed = False

    # ---- told by Commands ---------------------------------------------------------------------

    def started(self, request: ExecRequest, *, pid: int, at: int) -> None:
        """Raises ``OSError`` when it cannot be noted."""
        self._ledger.started(request, pid=pid, at=at)

    def wrote(self, command_id: str) -> None:
        """There is more in its output file."""
        event = self._news.pop(command_id, None)
        if event is not None:
            event.set()

    def ended(self, command_id: str, ended: Ended | None) -> None:
        """All its output is in the file. Raises ``OSError`` when its end cannot be noted."""
        self._ledger.ended(command_id, ended)
        self.wrote(command_id)

    def finish_all_but(self, running: set[str]) -> None:
        """After a restart: what is listed as running and is not followed, is no more."""
        for row in self._ledger.all():
            if not row.is_over and row.id not in running:
                with suppress(OSError):
                    self.ended(row.id, None)

    def close(self) -> None:
        """Nobody may wait here any longer."""
        self._is_closed = True
        for command_id in list(self._news):
            self.wrote(command_id)

    # ---- for callers --------------------------------------------------------------------------

    def list(self) -> list[BackgroundCommand]:
        """Every one that is listed, in the order in which they were started."""
        return self._ledger.all()

    def find(self, command_id: str) -> BackgroundCommand:
        """Raises ``HostError`` (no_such_command)."""
        return self._ledger.find(command_id)

    async def kill(self, command_id: str) -> None:
        """TERM to its process group, KILL two seconds later; returns when it is over.

        One that is over is left alone. Raises ``HostError``.
        """
        if self.find(command_id).is_over:
            return
        with suppress(OSError):  # a full disk must not keep it alive
            self._ledger.kill_asked(command_id)
        with suppress(HostError):  # it ended meanwhile, or its agent did, which ends it too
            await questions.kill(self._box.agent_socket, command_id)
        try:
            async with asyncio.timeout(KILL_SECONDS):
                while not self.find(command_id).is_over:
                    await self._await_news(command_id)
        except TimeoutError as error:
            message = "The command did not end in time; ask again."
            raise HostError("internal", message) from error

    def read(self, command_id: str, *, offset: int, limit: int = SLICE) -> Slice:
        """Its output from ``offset`` on. Raises ``HostError`` (no_such_command)."""
        is_over = self.find(command_id).is_over
        try:
            descriptor = os.open(self._directory / f"{command_id}.out", os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:  # it has written nothing
            return Slice(b"", 0, is_over)
        try:
            size = os.fstat(descriptor).st_size
            data = os.pread(descriptor, min(limit, SLICE), offset) if offset < size else b""
        finally:
            os.close(descriptor)
        return Slice(data, size, is_over)

    async def follow(self, command_id: str, *, offset: int) -> AsyncGenerator[ExecEvent, None]:
        """Its output from ``offset`` on, cut between characters, and its end.

        Which stream wrote what is not kept; all of it is called stdout. Raises ``HostError``.
        """
        yield Started(self.find(command_id).pid)
        while True:
            part = self.read(command_id, offset=offset, limit=CHUNK)
            whole = unfinished_character(part.data)
            data = part.data[:whole] or (part.data if part.is_over else b"")
            offset += len(data)
            if data:
                yield Chunk("stdout", data)
            elif part.is_over:
                yield _exited(self.find(command_id))
                return
            else:
                await self._await_news(command_id)

    async def _await_news(self, command_id: str) -> None:
        if self._is_closed:
            raise HostError("not_running", "The sandbox has ended; create another one.")
        await self._news.setdefault(command_id, asyncio.Event()).wait()


def _exited(row: BackgroundCommand) -> Exited:
    return Exited(row.exit_code, row.signal, row.duration_ms or 0, timed_out=False)
