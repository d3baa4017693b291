"""One sandbox's meter: turns the counters of its cgroup into totals and a window of samples."""

from __future__ import annotations

import logging
import time
from collections import deque
from dataclasses import dataclass, replace
from pathlib import Path

from sandboxes.host import totals
from sandboxes.host.cgroups import Group
from sandboxes.host.gauges import Gauges, Reading
from sandboxes.host.totals import Keeper, Totals

INTERVAL_SECONDS = 1
WINDOW_SECONDS = 60
#: Less time than this between two readings says nothing about how busy a sandbox is.
_SHORT_MS = 250

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Sample:
    """``at`` in whole Unix seconds, ``cores`` busy on average since the one before, bytes."""

    at: int
    cores: float
    memory: int


class Meter:
    """Counts while the sandbox runs. One thread at a time; see ``Metering``."""

    def __init__(self, directory: Path, gauges: Gauges, kept: Totals) -> None:
        self._keeper = Keeper(directory)
        self._gauges = gauges
        self._told = (kept.counter_us, kept.at_ms)
        self.totals = kept
        self.window: deque[Sample] = deque(maxlen=WINDOW_SECONDS // INTERVAL_SECONDS)
        self._save()

    @classmethod
    def begin(cls, directory: Path, group: Group, name: str) -> Meter:
        """For a new sandbox: what its slot used while it waited is nobody's. ``OSError``."""
        gauges = Gauges(group)
        return cls(directory, gauges, _from_now(Totals(_generation(), name), gauges.read()))

    @classmethod
    def found(cls, directory: Path, group: Group, name: str) -> Meter:
        """After a restart of the host. What ran meanwhile is counted when the group is the same;
        a sandbox that was moved to another group goes on from there. ``OSError``."""
        gauges = Gauges(group)
        kept = totals.load(directory)
        if kept is None:
            kept = replace(_from_now(Totals(_generation(), name), gauges.read()), counter_us=0)
        elif kept.group != name:
            kept = _from_now(replace(kept, group=name), gauges.read())
        return cls(directory, gauges, kept)

    def look(self, at: int) -> None:
        """One sample at the Unix second ``at``. Raises ``OSError`` once the group is gone."""
        if self.totals.held:
            return
        self._count(self._gauges.read())
        (counter_us, at_ms), now = self._told, self.totals
        passed = now.at_ms - at_ms
        if passed < _SHORT_MS or (self.window and self.window[-1].at >= at):
            return
        cores = max(0, now.counter_us - counter_us) / (passed * 1000)
        self._told = (now.counter_us, now.at_ms)
        self.window.append(Sample(at, cores, now.memory))

    def hold(self) -> None:
        """It stops running but does not end: nothing is counted until ``go_on``."""
        if not self.totals.held:
            self._count(self._gauges.read())
            self.totals = replace(self.totals, held=True)
            self.window.clear()
            self._save()

    def go_on(self) -> None:
        """It runs again, in the same cgroup, maybe for some milliseconds already."""
        if self.totals.held:
            memory = self._gauges.read().memory
            self.totals = replace(self.totals, memory=memory, at_ms=_now_ms(), held=False)
            self._told = (self.totals.counter_us, self.totals.at_ms)
            self._save()

    def end(self) -> Totals:
        """The last word. Everything in the group has been killed, the group is still there."""
        try:
            if not self.totals.held:
                self._count(Reading(self._gauges.cpu_us(), self.totals.memory))
        except OSError:
            log.exception("What a sandbox used last could not be read")
        self.totals = replace(self.totals, ended=True)
        self._save()
        self.close()
        return self.totals

    def close(self) -> None:
        self._gauges.close()
        self._keeper.close()

    def _count(self, reading: Reading) -> None:
        """Memory between two readings is taken to be the mean of both."""
        was, at_ms = self.totals, _now_ms()
        passed = max(0, at_ms - was.at_ms)
        self.totals = replace(
            was,
            cpu_us=was.cpu_us + max(0, reading.cpu_us - was.counter_us),
            memory_kib_ms=was.memory_kib_ms + (was.memory + reading.memory) // 2 * passed // 1024,
            counter_us=max(was.counter_us, reading.cpu_us),
            at_ms=at_ms,
            memory=reading.memory,
        )
        self._save()

    def _save(self) -> None:
        """Before anybody is told: what has been told is never taken back by a restart."""
        try:
            self._keeper.save(self.totals)
        except OSError:
            log.exception("What a sandbox used cannot be kept")


def finish(directory: Path, group: Group) -> Totals | None:
    """The last word on a sandbox that ended while no host ran; None when it was told for good.

    When it ended nobody saw, so its memory is counted up to the last sample and no further.
    """
    kept = totals.load(directory)
    if kept is None or kept.ended:
        return kept
    try:
        gauges = Gauges(group)
    except OSError:
        return _closed(directory, kept)
    return Meter(directory, gauges, replace(kept, at_ms=_now_ms())).end()


def _closed(directory: Path, kept: Totals) -> Totals:
    """Its cgroup is gone too: what was counted last is what there is."""
    ended = replace(kept, ended=True)
    keeper = Keeper(directory)
    try:
        keeper.save(ended)
    finally:
        keeper.close()
    return ended


def _from_now(kept: Totals, reading: Reading) -> Totals:
    return replace(kept, counter_us=reading.cpu_us, memory=reading.memory, at_ms=_now_ms())


def _generation() -> int:
    return time.time_ns() // 1000


def _now_ms() -> int:
    return time.monotonic_ns() // 1_000_000
