"""All that runs in one sandbox for its callers: commands, terminals and the interpreter's cells."""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from sandboxes.host.code.interpreter import Interpreter
from sandboxes.host.commands import Commands
from sandboxes.host.terminals.terminals import Terminals
from sandboxes.host.types import Box

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Work:
    """It outlives the host that follows it. Use from one event loop."""

    box: Box
    commands: Commands
    terminals: Terminals
    code: Interpreter

    @classmethod
    def of(cls, box: Box, *, has_kernel: bool, recordings: Path) -> Self:
        """Of one sandbox; ``recordings`` is the folder of all of them."""
        terminals = Terminals(box, recordings=recordings / box.sandbox_id)
        return cls(box, Commands(box), terminals, Interpreter(box, has_kernel=has_kernel))

    def recall(self, *, held: bool) -> None:
        """Read what an earlier host left, before anybody shortens the journal.

        ``held`` says that the sandbox stands still; ``recover`` has to wait for that to end.
        """
        self.code.recall(held=held)
        self.commands.recall()
        self.terminals.recall()

    async def recover(self) -> None:
        """Take up what was recalled, once."""
        await self.code.recover()
        for each in (self.commands, self.terminals):
            if each.recalled:
                await each.recover()

    async def rejoin(self) -> None:
        """The agent that hung up for a pause answers again, or never will."""
        if self.box.ties.is_apart:
            self.box.ties.rejoin()
            for each in (self.commands, self.terminals):
                await each.rejoined()

    async def settled(self, seconds: float) -> None:
        """Wait, so long at most for each, until the ends of all it ran are recorded."""
        await self.commands.settled(seconds)
        await self.terminals.settled(seconds)
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.code.settled()

    async def close(self, seconds: float) -> None:
        """Stop following; a later host goes on."""
        try:
            async with asyncio.timeout(seconds):
                await self.terminals.close()
                await asyncio.gather(self.commands.close(), self.code.close())
        except Exception:
            log.exception("The commands of %s did not close", self.box.sandbox_id)
