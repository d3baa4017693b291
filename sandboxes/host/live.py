"""A sandbox as its host serves it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from sandboxes.host.box import Box
from sandboxes.host.code.interpreter import Interpreter
from sandboxes.host.commands import Commands
from sandboxes.host.files import Files
from sandboxes.host.limits import LimitWatch
from sandboxes.host.pausing import Pause
from sandboxes.host.previews import Told
from sandboxes.host.terminals.terminals import Terminals
from sandboxes.host.work import Work


@dataclass(slots=True, eq=False)
class Live:
    """A sandbox that runs or is paused, with all that serves it.

    ``end`` is set once it is being ended.
    """

    box: Box
    work: Work
    files: Files
    limits: LimitWatch
    pause: Pause
    previews: Told
    end: asyncio.Task[None] | None = None

    @property
    def commands(self) -> Commands:
        return self.work.commands

    @property
    def terminals(self) -> Terminals:
        return self.work.terminals

    @property
    def code(self) -> Interpreter:
        return self.work.code
