"""Paused sandboxes' memory on disk: ``slots/<name>/memory``, beside the disk it belongs to.

Whoever reads it has all that was in the sandbox, secrets included; it is root's alone, and goes
with the pause it was made for.
"""

from __future__ import annotations

import fcntl
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sandboxes.host import disks, mounts
from sandboxes.host.locks import try_lock
from sandboxes.host.places import Fork, Slot
from sandboxes.host.runtime import RUNC
from sandboxes.host.slots import SlotMaker
from sandboxes.host.types import HostError

#: How long a dump that a killed host began may go on.
_SETTLE_SECONDS = 50.0
#: How long what an earlier host restored, and did not let go, may hold on to its disk.
_LET_GO_SECONDS = 25.0
_LOOK_SECONDS = 0.02

log = logging.getLogger(__name__)


class Memory:
    """Every method blocks. ``room`` says whether the host's disk has enough left."""

    def __init__(self, maker: SlotMaker, room: Callable[[], bool]) -> None:
        self._maker = maker
        self._room = room

    def trouble(self, slot: Slot) -> str | None:
        """Why a slot's cannot be written just now, as a sentence; None when it can."""
        if trouble := self._maker.runtimes[slot.isolation].memory_trouble():
            return trouble
        return None if self._room() else "The host's disk is nearly full."

    def is_restored(self, slot: Slot) -> bool:
        """Whether a slot's processes came from disk.

        Its agent's memory counts as the machine's own then, and nobody may look into it who is in
        the sandbox's user namespace, as CRIU is when it looks at the namespaces.
        """
        return slot.isolation == RUNC and self._maker.was_restored(slot.name)

    def is_needed(self, slot: Slot) -> bool:
        """Whether a slot that stands still has more in memory than what every one begins with.

        gVisor's kernel cannot be looked into while it stands still: there it is needed always.
        """
        alone = slot.isolation == RUNC and slot.group.processes() == [slot.identity.pid]
        return not (alone and self._maker.is_fresh(slot))

    def hold(self, slot: Slot) -> None:
        """Have a slot's processes stand still as writing them takes it. Raises ``HostError``."""
        self._maker.runtimes[slot.isolation].hold(slot.name)

    def let_go(self, slot: Slot) -> None:
        """Have a slot that runs again go on, with its agent in reach. Raises ``HostError``."""
        runtime = self._maker.runtimes[slot.isolation]
        runtime.let_go(slot.name)
        runtime.reunite(slot.agent_socket, slot.identity.pid)

    @contextmanager
    def _awake(self, slot: Slot) -> Iterator[None]:
        """For a runtime whose own kernel has to run meanwhile, though no program does."""
        if self._maker.runtimes[slot.isolation].works_frozen:
            yield
            return
        slot.group.freezer.thaw()
        try:
            yield
        finally:
            slot.group.freezer.freeze()

    def write(self, slot: Slot) -> None:
        """Keep a frozen slot's memory, and its disk as it is now. Raises ``HostError``."""
        self.write_to(slot, self._folder(slot.name))
        try:
            self.flush(slot.name)
        except OSError as error:
            shutil.rmtree(self.drop(slot.name), ignore_errors=True)
            raise HostError("internal", f"its disk cannot be written ({error})") from error

    def write_to(self, slot: Slot, folder: Path) -> None:
        """The memory alone, into a folder that is there once it is whole."""
        scratch = folder.with_name(f"{folder.name}.new")
        try:
            scratch.mkdir(mode=0o700)
            with (scratch / "lock").open("w") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                with self._awake(slot):
                    runtime = self._maker.runtimes[slot.isolation]
                    runtime.checkpoint(slot.name, scratch, lock=lock.fileno())
            scratch.rename(folder)
        except (OSError, HostError) as error:
            shutil.rmtree(scratch, ignore_errors=True)
            raise HostError("internal", _why(error, is_full=not self._room())) from error

    def flush(self, name: str) -> None:
        """Have a mounted disk's file hold all that was written to it."""
        disks.flush(self._maker.image(name), scratch=self._maker.places.stage / f"flush-{name}")

    def sync(self, name: str) -> None:
        """Have a slot's folder outlive the machine's power."""
        with suppress(FileNotFoundError):
            mounts.sync(self._maker.places.slots / name)

    def of(self, name: str) -> Path | None:
        """Where a slot's memory is, if it was kept whole."""
        folder = self._folder(name)
        return folder if folder.is_dir() else None

    def drop(self, name: str) -> Path:
        """It is of no use any more: the slot runs. What is left to remove, if there is any."""
        folder = self._folder(name)
        dropped = folder.with_name(f"dropped-{time.monotonic_ns()}")
        with suppress(FileNotFoundError):
            folder.rename(dropped)
        return dropped

    def settle(self, name: str) -> None:
        """Wait until what a killed host had begun to write is over, and remove it."""
        for dropped in (self._maker.places.slots / name).glob("dropped-*"):
            shutil.rmtree(dropped, ignore_errors=True)
        scratch = self._maker.places.slots / name / "memory.new"
        if not scratch.is_dir():
            return
        with suppress(FileNotFoundError), (scratch / "lock").open("w") as lock:
            _eventually(lambda: try_lock(lock.fileno()), _SETTLE_SECONDS)
        shutil.rmtree(scratch, ignore_errors=True)

    def fork(self, name: str) -> Fork:
        """What a slot that does not run goes on from. Raises ``HostError`` and ``OSError``."""
        image = self._maker.image(name)
        if not _eventually(lambda: not disks.is_attached(image), _LET_GO_SECONDS):
            raise HostError("busy", "The sandbox's disk is in use still; try again in a moment.")
        disks.check(image)
        memory = self.of(name)
        # From the last image on only restores have written to the disk.
        since = None if memory is None else (memory / "images").stat().st_mtime_ns
        base = self._maker.disk_base(name)
        return Fork(image, base, memory, moves=True, restored_since=since)

    def _folder(self, name: str) -> Path:
        return self._maker.places.slots / name / "memory"


def _eventually(attempt: Callable[[], bool], seconds: float) -> bool:
    """Neither a lock's nor a loop device's end can be waited for with a limit."""
    deadline = time.monotonic() + seconds
    while not attempt():
        if time.monotonic() > deadline:
            return False
        time.sleep(_LOOK_SECONDS)
    return True


def _why(error: OSError | HostError, *, is_full: bool) -> str:
    text = error.message if isinstance(error, HostError) else os.strerror(error.errno or 0)
    if is_full or "No space left" in text:
        return "The host's disk is full."
    return f"The processes cannot be written to disk ({text})."
