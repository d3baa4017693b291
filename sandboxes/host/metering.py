"""Every sandbox's meter: one look a second at all of them, in one thread, without tasks."""

from __future__ import annotations

import asyncio
import logging
import math
import time
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

from sandboxes.host import meter as meters
from sandboxes.host import totals
from sandboxes.host.box import Box
from sandboxes.host.cgroups import Group
from sandboxes.host.meter import INTERVAL_SECONDS, Meter, Sample
from sandboxes.host.threads import in_thread
from sandboxes.host.totals import Totals
from sandboxes.host.types import HostError

#: Most ended sandboxes told of in one answer; the next answer has the others.
_ENDED_AT_ONCE = 2000
#: A timer may fire a little before its second begins.
_EARLY_SECONDS = 0.1

T = TypeVar("T")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Metrics:
    """One sandbox: its totals, and its samples of the last minute, oldest first."""

    totals: Totals
    samples: list[Sample] = field(default_factory=list)


@dataclass(slots=True)
class _Left:
    """What an ended sandbox used, until that is stored elsewhere."""

    directory: Path
    totals: Totals


class Metering:
    """Meters by sandbox id. All but ``begin`` and ``add`` go through one thread, so need no lock.

    ``executor`` has that thread; what else it does delays samples, which then are just longer.
    """

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._meters: dict[str, Meter] = {}
        self._ended: dict[str, _Left] = {}
        self._resting: dict[str, Totals] = {}

    def begin(self, box: Box) -> None:
        """A new sandbox's, before it is answered for. Raises ``OSError``."""
        self._meters[box.sandbox_id] = Meter.begin(box.directory, box.slot.group, box.slot.name)

    def add(self, box: Box) -> None:
        """A sandbox that a new host found running or has restored. Raises ``OSError``."""
        self._resting.pop(box.sandbox_id, None)
        self._meters[box.sandbox_id] = Meter.found(box.directory, box.slot.group, box.slot.name)

    def rest(self, sandbox_id: str, directory: Path) -> None:
        """A paused sandbox of which nothing runs: what it had used until then is told."""
        kept = totals.load(directory)
        if kept is not None:
            self._resting[sandbox_id] = kept

    async def hold(self, sandbox_id: str) -> None:
        """It is paused: count nothing. Raises ``OSError``."""
        await self._do(partial(self._with, sandbox_id, Meter.hold))

    async def go_on(self, sandbox_id: str) -> None:
        """It runs again. Raises ``OSError``."""
        await self._do(partial(self._with, sandbox_id, Meter.go_on))

    async def end(self, sandbox_id: str, directory: Path) -> None:
        """Everything in it has been killed, and its cgroup is still there."""
        await self._do(partial(self._end, sandbox_id, directory))

    async def drop(self, sandbox_id: str) -> None:
        """It never began."""
        await self._do(partial(self._drop, sandbox_id))

    async def left(self, sandbox_id: str, directory: Path, group: Group) -> None:
        """A sandbox that ended while no host ran, or whose totals nobody has stored yet."""
        await self._do(partial(self.find_left, sandbox_id, directory, group))

    def find_left(self, sandbox_id: str, directory: Path, group: Group) -> None:
        """As ``left``, before anything runs."""
        self._resting.pop(sandbox_id, None)
        found = meters.finish(directory, group)
        if found is not None:
            self._ended[sandbox_id] = _Left(directory, found)

    async def rows(self) -> list[tuple[str, Totals]]:
        """Every running sandbox, and those ended ones whose totals are not stored yet."""
        return await self._do(self._rows)

    async def stored(self, sandbox_ids: Iterable[str]) -> None:
        """These ended ones have been stored, with the totals that ``rows`` told last."""
        await self._do(partial(self._forget, sandbox_ids))

    async def metrics(self, sandbox_id: str, *, since: int) -> Metrics:
        """Samples later than the Unix second ``since``. Raises ``HostError`` (not_found)."""
        return await self._do(partial(self._metrics, sandbox_id, since))

    async def run(self) -> None:
        """Look at all of them at the beginning of every second, until cancelled."""
        while True:
            now = time.time()
            await asyncio.sleep(math.floor(now) + INTERVAL_SECONDS - now)
            await self._do(partial(self.look, math.floor(time.time() + _EARLY_SECONDS)))

    def look(self, at: int) -> None:
        """One round, for the Unix second ``at``."""
        for sandbox_id, one in list(self._meters.items()):
            try:
                one.look(at)
            except (OSError, ValueError):
                log.debug("Sandbox %s could not be sampled; it is ending", sandbox_id)

    def close(self) -> None:
        """Let go of what is open; the totals are in their files."""
        for one in self._meters.values():
            one.close()
        self._meters.clear()

    async def _do(self, call: Callable[[], T]) -> T:
        return await in_thread(self._executor, call)

    def _with(self, sandbox_id: str, change: Callable[[Meter], None]) -> None:
        one = self._meters.get(sandbox_id)
        if one is not None:
            change(one)

    def _end(self, sandbox_id: str, directory: Path) -> None:
        one = self._meters.pop(sandbox_id, None)
        if one is not None:
            self._ended[sandbox_id] = _Left(directory, one.end())

    def _drop(self, sandbox_id: str) -> None:
        one = self._meters.pop(sandbox_id, None)
        if one is not None:
            one.close()

    def _rows(self) -> list[tuple[str, Totals]]:
        ended = list(self._ended.items())[:_ENDED_AT_ONCE]
        running = [(sandbox_id, one.totals) for sandbox_id, one in self._meters.items()]
        return [(sandbox_id, left.totals) for sandbox_id, left in ended] + running

    def _forget(self, sandbox_ids: Iterable[str]) -> None:
        for sandbox_id in sandbox_ids:
            left = self._ended.pop(sandbox_id, None)
            if left is not None:
                totals.forget(left.directory)

    def _metrics(self, sandbox_id: str, since: int) -> Metrics:
        one = self._meters.get(sandbox_id)
        if one is not None:
            return Metrics(one.totals, [sample for sample in one.window if sample.at > since])
        left = self._ended.get(sandbox_id)
        if left is not None:
            return Metrics(left.totals)
        if sandbox_id in self._resting:
            return Metrics(self._resting[sandbox_id])
        raise HostError("not_found", "This host has no meter of such a sandbox.")


def metrics_header(found: Metrics) -> Mapping[str, object]:
    """The answer's header on the wire; ``running`` is false for one that is held or has ended."""
    return {
        "ok": True,
        "cpu_us": found.totals.cpu_us,
        "memory_kib_ms": found.totals.memory_kib_ms,
        "running": not (found.totals.held or found.totals.ended),
        "samples": [[one.at, round(one.cores, 4), one.memory] for one in found.samples],
    }


def rows_header(rows: Iterable[tuple[str, Totals]]) -> Mapping[str, object]:
    """``[id, generation, cpu_us, memory_kib_ms, ended]`` for each."""
    return {
        "ok": True,
        "meters": [
            [sandbox_id, one.generation, one.cpu_us, one.memory_kib_ms, one.ended]
            for sandbox_id, one in rows
        ],
    }
