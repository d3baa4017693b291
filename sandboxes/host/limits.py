"""Notices when a sandbox meets a limit of its size, and says so once per burst."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field

from sandboxes.host.box import Box
from sandboxes.host.oci import VOLUME
from sandboxes.host.volumes import inside
from timeline.events import Kind, NewEvent

#: As long as a limit is met again within this time, it is the same burst.
_QUIET_SECONDS = 10.0
#: ext4 refuses to write while it still shows some free blocks, which it keeps for itself.
_FULL_BYTES = 2 * 1024 * 1024
_FULL_INODES = 8
_MIB = 1024 * 1024


@dataclass(slots=True)
class _Burst:
    """How a limit's count stood, and when it last moved."""

    count: int = 0
    moved: float = float("-inf")

    def begins(self, count: int, now: float) -> bool:
        """Whether a count that has grown begins a new burst."""
        grown, self.count = count > self.count, count
        if not grown:
            return False
        quiet, self.moved = now - self.moved > _QUIET_SECONDS, now
        return quiet


@dataclass(slots=True)
class _Filling:
    """How often a filesystem has become full."""

    burst: _Burst = field(default_factory=_Burst)
    count: int = 0
    full: bool = False

    def rebase(self, left: os.statvfs_result) -> None:
        self.full = _is_full(left)
        self.burst.count = self.count = int(self.full)

    def begins(self, left: os.statvfs_result, now: float) -> bool:
        """Whether it is full, and was not lately."""
        full = _is_full(left)
        self.count += full and not self.full
        self.full = full
        return self.burst.begins(self.count, now)


def _is_full(left: os.statvfs_result) -> bool:
    return left.f_bavail * left.f_frsize < _FULL_BYTES or left.f_favail < _FULL_INODES


def _used(left: os.statvfs_result) -> int:
    return (left.f_blocks - left.f_bfree) * left.f_frsize


@dataclass(slots=True)
class LimitWatch:
    """One sandbox's limits. ``look`` reads a few small files: about 50 µs."""

    box: Box
    clock: Callable[[], float] = time.monotonic
    _memory: _Burst = field(default_factory=_Burst)
    _pids: _Burst = field(default_factory=_Burst)
    _disk: _Filling = field(default_factory=_Filling)
    _volume: _Filling = field(default_factory=_Filling)

    def rebase(self) -> None:
        """After a restart of the host: what was counted before has been told before."""
        counters = self.box.slot.group.counters()
        self._memory.count, self._pids.count = counters.oom_kills, counters.forks_refused
        self._disk.rebase(self._disk_left())
        if (left := self._volume_left()) is not None:
            self._volume.rebase(left)

    def is_out_of_memory(self) -> bool:
        """Whether the kernel has just ended a process for want of memory, as of the last look."""
        return self.clock() - self._memory.moved < _QUIET_SECONDS

    def look(self) -> list[NewEvent]:
        """The limits met since the last look."""
        now = self.clock()
        counters = self.box.slot.group.counters()
        events = []
        if self._memory.begins(counters.oom_kills, now):
            events.append(self._memory_event())
        if self._pids.begins(counters.forks_refused, now):
            events.append(self._pids_event())
        left = self._disk_left()
        if self._disk.begins(left, now):
            events.append(self._disk_event(left))
        volume_left = self._volume_left()
        if volume_left is not None and self._volume.begins(volume_left, now):
            events.append(_volume_event(volume_left))
        return events

    def _disk_left(self) -> os.statvfs_result:
        return os.fstatvfs(self.box.slot.root)

    def _volume_left(self) -> os.statvfs_result | None:
        """None without one, and once the sandbox is gone. A descriptor would keep it in use."""
        if not self.box.spec.volume:
            return None
        with suppress(OSError):
            return os.statvfs(inside(self.box.slot))
        return None

    def _memory_event(self) -> NewEvent:
        cap = self.box.memory_mb * _MIB
        detail = f"A process was ended: the sandbox used up its {self.box.memory_mb} MB of memory."
        return _hit("memory", value=cap, cap=cap, detail=detail)

    def _pids_event(self) -> NewEvent:
        cap = self.box.pids
        detail = f"A new process was refused: the sandbox already has {cap}."
        return _hit("pids", value=cap, cap=cap, detail=detail)

    def _disk_event(self, left: os.statvfs_result) -> NewEvent:
        if left.f_favail < _FULL_INODES:
            return _files_event("disk", left)
        cap = self.box.spec.disk_mb * _MIB
        detail = f"The sandbox's disk of {self.box.spec.disk_mb} MB is full."
        return _hit("disk", value=_used(left), cap=cap, detail=detail)


def _files_event(what: str, left: os.statvfs_result) -> NewEvent:
    """Of a filesystem that has room and no more inodes."""
    detail = f"The sandbox's {what} holds as many files as it can, {left.f_files}; remove some."
    return _hit("files", value=left.f_files - left.f_ffree, cap=left.f_files, detail=detail)


def _volume_event(left: os.statvfs_result) -> NewEvent:
    if left.f_favail < _FULL_INODES:
        return _files_event(f"volume at {VOLUME}", left)
    cap = left.f_blocks * left.f_frsize
    detail = f"The sandbox's volume at {VOLUME} is full: all of its {cap // _MIB} MB are used."
    return _hit("volume", value=_used(left), cap=cap, detail=detail)


def _hit(limit: str, *, value: int, cap: int, detail: str) -> NewEvent:
    data = {"limit": limit, "value": value, "cap": cap, "detail": detail}
    return NewEvent(Kind.LIMIT_HIT, data)
