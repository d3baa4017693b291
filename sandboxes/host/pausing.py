"""A sandbox held still by the freezer: processes, memory and files stay as they are, and are
written to disk beside that where the runtime can.

A pause is there from the moment its event is in the journal, and over from the moment the event of
its end is. Whatever a killed host had begun beside that, ``settle`` finishes or takes back.
"""

from __future__ import annotations

import asyncio
import logging
import math
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from concurrent.futures import Executor
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from sandboxes.host import door
from sandboxes.host.agent import gate, questions
from sandboxes.host.box import Box
from sandboxes.host.memory import Memory
from sandboxes.host.paused import Paused
from sandboxes.host.runtime import GVISOR
from sandboxes.host.threads import in_thread
from sandboxes.host.types import HostError
from sandboxes.host.volumes import write_out
from sandboxes.host.work import Work
from timeline.events import Actor, Kind, NewEvent, now_us
from timeline.journal import Journal

_CLOCK_SECONDS = 2.0
#: How long file operations may take to end; a longer one's connection cannot be written to disk.
_QUIET_SECONDS = 1.0
_LOOK_SECONDS = 0.02
_MIB = 1024 * 1024
Stopped = Callable[[], Awaitable[None]]

#: Operations whose callers are told of a pause instead of being kept until it is over.
INTERRUPTED = frozenset(
    {"exec", "code_run", "write_file", "read_path", "delete_file", "make_dir", "move", "stat"}
)

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Wake:
    """Who ends a pause and why (requested, auto_resume), and the clock that begins then.

    ``lost`` says why processes and memory are not there any more, if they are not.
    """

    actor: Actor
    reason: str
    timeout_seconds: int
    expires_at: str
    lost: str = ""

    def event(self, paused: Paused) -> NewEvent:
        at = now_us()
        data: dict[str, Any] = {
            "reason": self.reason,
            "paused_ms": max(0, (at - paused.at) // 1000),
            "timeout_seconds": self.timeout_seconds,
            "expires_at": self.expires_at,
        }
        if self.lost:
            data["processes_lost"] = self.lost
        return NewEvent(Kind.SANDBOX_RESUMED, data, actor=self.actor, at=at)


class Pause:
    """Whether one sandbox is paused. ``lock`` is held by whoever changes that, or ends it."""

    def __init__(
        self,
        box: Box,
        work: Work,
        memory: Memory,
        threads: Executor,
        state: Paused | None = None,
    ) -> None:
        self.lock = asyncio.Lock()
        self.state = state
        self._box = box
        self._work = work
        self._memory = memory
        self._threads = threads
        self._is_apart = True  # perhaps, by a host before this one
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

    async def begin(
        self, *, snapshot_id: str, reason: str, actor: Actor, stopped: Stopped
    ) -> Paused:
        """Everything stands still when this returns, and is on disk where that can be.

        ``stopped`` is awaited as soon as nothing runs. Hold ``lock``.
        """
        self.check()
        self._beginning = True
        try:
            unsaved = await self._stop(interrupt=True)
            at = now_us()
            await stopped()
            unsaved = unsaved or await self._write_memory()
            size_mb = self._size_mb()
            paused = Paused(snapshot_id, size_mb, at, reason, actor, not unsaved, unsaved)
            self.state = self._write(paused)
        except BaseException:
            await asyncio.shield(self._let_go())
            raise
        finally:
            self._beginning = False
            gate.opened(self._box.agent_socket)  # whoever asks now is told that it is paused
        self._note()
        return self.state

    @asynccontextmanager
    async def still(self) -> AsyncIterator[str]:
        """Nothing runs in it meanwhile, then it is as it was before. Hold ``lock``.

        Yields why its memory cannot be written to disk, as a sentence; empty when it can.
        """
        if self.state is not None:
            yield self._belongs_to_no_copy() or self.state.unsaved
            return
        try:
            yield await self._stop()
        finally:
            await asyncio.shield(self._let_go())

    async def _stop(self, *, interrupt: bool = False) -> str:
        """Hold everything still; why memory cannot be written then, or an empty string."""
        await self._hold_clock()
        if interrupt:
            self._interrupt()
        unsaved = "" if interrupt else self._belongs_to_no_copy()
        unsaved = unsaved or await self._part()
        await in_thread(self._threads, self._freeze)
        self._work.code.hold()
        return unsaved

    def _belongs_to_no_copy(self) -> str:
        """Why memory of it can be in no copy, or an empty string."""
        return "It has a volume, which belongs to no copy." if self._box.spec.volume else ""

    async def _part(self) -> str:
        """Have the agent close what leads out of it; why it cannot, or an empty string."""
        if self._box.slot.isolation == GVISOR and self._box.spec.network == "open":
            return "Its connections are the machine's own."
        look = partial(self._memory.trouble, self._box.slot)
        if trouble := await in_thread(self._threads, look):
            return trouble
        gate.shut(self._box.agent_socket)
        self._box.ties.part()
        self._is_apart = True
        try:
            async with asyncio.timeout(_QUIET_SECONDS):
                await gate.empty(self._box.agent_socket)
                await self._quiesce()
        except (HostError, TimeoutError) as error:
            log.info("The agent of %s cannot be quiet: %s", self._box.sandbox_id, error)
            return "A file or a connection is being passed on, or the agent does not answer."
        try:
            await in_thread(self._threads, partial(self._memory.hold, self._box.slot))
        except HostError as error:
            return f"The processes cannot be written to disk ({error.message})."
        return ""

    async def _quiesce(self) -> None:
        slot = self._box.slot
        freezer, pid = slot.group.freezer, slot.identity.pid
        bare = self._memory.is_restored(slot)
        while True:
            try:
                if bare:
                    await in_thread(self._threads, partial(freezer.freeze_all_but, pid))
                return await questions.quiesce(slot.agent_socket, bare=bare)
            except HostError as error:
                if error.code != "not_permitted":
                    raise
            freezer.thaw()  # a file operation is to come to its end
            await asyncio.sleep(_LOOK_SECONDS)

    def _freeze(self) -> None:
        slot = self._box.slot
        slot.group.freezer.rejoin(slot.identity.pid)
        slot.group.freezer.freeze()

    async def _write_memory(self) -> str:
        def write() -> None:
            self._memory.write(self._box.slot)
            write_out(self._box)

        try:
            await in_thread(self._threads, write)
        except HostError as error:
            log.warning("The memory of %s is not on disk: %s", self._box.sandbox_id, error)
            return error.message
        except OSError as error:
            log.warning("The volume of %s is not written out: %s", self._box.sandbox_id, error)
            return f"Its volume cannot be written out ({error})."
        return ""

    def _interrupt(self) -> None:
        for task in self._callers:
            self._told.add(task)
            task.cancel()

    def _write(self, paused: Paused) -> Paused:
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
        try:
            await self._thaw()
            await questions.hold_clock(self._box.agent_socket, hold=False)
        except HostError as error:
            log.warning("The clock of %s stands still: %s", self._box.sandbox_id, error.message)
        self._work.code.go_on()
        await self._work.rejoin()

    async def _thaw(self) -> None:
        try:
            await in_thread(self._threads, self._reach)
        finally:
            gate.opened(self._box.agent_socket)

    def _reach(self) -> None:
        """In one go: each way to a thread and back costs as much as the thaw itself."""
        slot = self._box.slot
        try:
            self._enter_first()
        finally:
            slot.group.freezer.thaw()
            slot.group.freezer.rejoin(slot.identity.pid)
        dropped = self._memory.drop(slot.name)
        if dropped.is_dir():
            self._threads.submit(shutil.rmtree, dropped, ignore_errors=True)
        if self._is_apart:
            self._memory.let_go(slot)
            self._is_apart = False

    def _enter_first(self) -> None:
        """An agent that others may look into is closed to them before any of them runs."""
        slot = self._box.slot
        freezer = slot.group.freezer
        if self._is_apart and self._memory.is_restored(slot) and freezer.is_frozen():
            freezer.freeze_all_but(slot.identity.pid)
            door.enter(slot.identity.pid, slot.agent_socket)
            self._is_apart = False

    async def settle(self) -> None:
        """After a restart: be as the journal has it, whose last word counts more than a note."""
        slot = self._box.slot
        await in_thread(self._threads, partial(self._memory.settle, slot.name))
        self.state = last_pause(self._box.journal, self.state)
        if self.state is None:
            await self._let_go()
        elif not slot.group.freezer.is_frozen():
            await in_thread(self._threads, self._freeze)
        if self.state is not None and self.state.is_saved and not self._memory.of(slot.name):
            self.state = replace(self.state, is_saved=False)
        self._note()

    def _note(self) -> None:
        """For a next host, should the journal have let go of the event by then."""
        try:
            self._box.save("paused" if self.state else "running", paused=self.state)
        except OSError:
            log.exception("The pause of %s is not noted", self._box.sandbox_id)


def last_pause(journal: Journal, noted: Paused | None) -> Paused | None:
    """The pause a sandbox is in: as the journal has it, else as it was ``noted``."""
    turns = {Kind.SANDBOX_RUNNING, Kind.SANDBOX_PAUSED, Kind.SANDBOX_RESUMED}
    last = None
    for event in journal.scan():
        if event.kind in turns:
            last = event
    if last is None:
        return noted
    return Paused.of(last) if last.kind == Kind.SANDBOX_PAUSED else None
