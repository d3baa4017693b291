"""A sandbox held still by the freezer: processes, memory and files stay as they are.

A pause is there from the moment its event is in the journal, and over from the moment the event of
its end is. Whatever a killed host had begun beside that, ``settle`` finishes or takes back.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from typing import Any

from sandboxes.host.agent import questions
from sandboxes.host.box import Box
from sandboxes.host.paused import Paused
from sandboxes.host.threads import in_thread
from sandboxes.host.types import HostError
from timeline.events import Actor, Kind, NewEvent, now_us
from timeline.journal import Journal

_CLOCK_SECONDS = 2.0
_MIB = 1024 * 1024

#: Operations whose callers are told of a pause instead of being kept until it is over.
INTERRUPTED = frozenset(
    {"exec", "write_file", "read_path", "delete_file", "make_dir", "move", "stat"}
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wake:
    """Who ends a pause and why (requested, auto_resume), and the clock that begins then."""

    actor: Actor
    reason: str
    timeout_seconds: int
    expires_at: str

    def event(self, paused: Paused) -> NewEvent:
        at = now_us()
        data = {
            "reason": self.reason,
            "paused_ms": max(0, (at - paused.at) // 1000),
            "timeout_seconds": self.timeout_seconds,
            "expires_at": self.expires_at,
        }
        return NewEvent(Kind.SANDBOX_RESUMED, data, actor=self.actor, at=at)


class Pause:
    """Whether one sandbox is paused. ``lock`` is held by whoever changes that, or ends it."""

    def __init__(self, box: Box, threads: Executor, state: Paused | None = None) -> None:
        self.lock = asyncio.Lock()
        self.state = state
        self._box = box
        self._threads = threads
        self._beginning = False
        self._callers: set[asyncio.Task[Any]] = set()
        self._told: set[asyncio.Task[Any]] = set()

    def check(self) -> None:
        """Raises ``HostError`` (paused) unless the sandbox can be worked in."""
        if self._beginning:
            raise HostError("paused", "The sandbox is being paused; resume it when that is done.")
        if self.state is not None:
            raise HostError("paused", "The sandbox is paused; resume it first.")

    @contextmanager
    def interrupts(self) -> Iterator[None]:
        """A pause ends what the caller does in here with ``HostError`` (paused)."""
        task = asyncio.current_task()
        if task is None:
            raise RuntimeError("only a task can be interrupted")
        self._callers.add(task)
        try:
            yield
        except asyncio.CancelledError:
            if task not in self._told or task.uncancel() > 0:
                raise
            message = "The sandbox was paused meanwhile; what it had begun goes on with a resume."
            raise HostError("paused", message) from None
        finally:
            self._callers.discard(task)
            self._told.discard(task)

    async def begin(self, *, snapshot_id: str, reason: str, actor: Actor) -> Paused:
        """Everything stands still when this returns. Hold ``lock``."""
        self.check()
        self._beginning = True
        try:
            await self._hold_clock()
            self._interrupt()
            await in_thread(self._threads, self._box.slot.group.freezer.freeze)
            self.state = self._write(snapshot_id, reason, actor)
        except BaseException:
            await asyncio.shield(self._let_go())
            raise
        finally:
            self._beginning = False
        self._note()
        return self.state

    @asynccontextmanager
    async def still(self) -> AsyncIterator[None]:
        """Nothing runs in it meanwhile, then it is as it was before. Hold ``lock``."""
        if self.state is not None:
            yield
            return
        try:
            await self._hold_clock()
            await in_thread(self._threads, self._box.slot.group.freezer.freeze)
            yield
        finally:
            await asyncio.shield(self._let_go())

    def _interrupt(self) -> None:
        for task in self._callers:
            self._told.add(task)
            task.cancel()

    def _write(self, snapshot_id: str, reason: str, actor: Actor) -> Paused:
        paused = Paused(snapshot_id, self._size_mb(), now_us(), reason, actor)
        try:
            self._box.journal.append(paused.event())
        except OSError as error:
            raise HostError("internal", f"The host cannot record the pause: {error}.") from error
        return paused

    def _size_mb(self) -> int:
        """Memory and files that are kept, in MB rounded up."""
        disk = os.fstatvfs(self._box.slot.root)
        kept = self._box.slot.group.memory_bytes() + (disk.f_blocks - disk.f_bfree) * disk.f_frsize
        return max(1, math.ceil(kept / _MIB))

    async def end(self, wake: Wake) -> None:
        """Everything goes on when this returns. Hold ``lock``."""
        if self.state is None:
            raise HostError("not_paused", "The sandbox is not paused; it runs.")
        try:
            self._box.journal.append(wake.event(self.state))
        except OSError as error:
            raise HostError("internal", f"The host cannot record the resume: {error}.") from error
        await self._let_go()
        self.state = None
        self._note()

    async def _hold_clock(self) -> None:
        """An agent that does not answer is paused all the same; its timeouts then go on."""
        try:
            async with asyncio.timeout(_CLOCK_SECONDS):
                await questions.hold_clock(self._box.agent_socket, hold=True)
        except (HostError, TimeoutError):
            log.warning("The clock of %s could not be held", self._box.sandbox_id)

    async def _let_go(self) -> None:
        await in_thread(self._threads, self._box.slot.group.freezer.thaw)
        try:
            await questions.hold_clock(self._box.agent_socket, hold=False)
        except HostError as error:
            log.warning("The clock of %s stands still: %s", self._box.sandbox_id, error.message)

    async def settle(self) -> None:
        """After a restart: be as the journal has it, whose last word counts more than a note."""
        last = last_turn(self._box.journal)
        if last is not None:
            self.state = Paused.of(last) if last.kind == Kind.SANDBOX_PAUSED else None
        if self.state is None:
            await self._let_go()
        elif not self._box.slot.group.freezer.is_frozen():
            await in_thread(self._threads, self._box.slot.group.freezer.freeze)
        self._note()

    def _note(self) -> None:
        """For a next host, should the journal have let go of the event by then."""
        try:
            self._box.save("paused" if self.state else "running", paused=self.state)
        except OSError:
            log.exception("The pause of %s is not noted", self._box.sandbox_id)


def last_turn(journal: Journal) -> NewEvent | None:
    """The last event by which it began to run or to stand still, of those not stored yet."""
    turns = {Kind.SANDBOX_RUNNING, Kind.SANDBOX_PAUSED, Kind.SANDBOX_RESUMED}
    last = None
    for event in journal.scan():
        if event.kind in turns:
            last = event
    return last
