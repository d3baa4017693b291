"""Slots that wait for their sandbox, so that a create need not wait for a start."""

from __future__ import annotations

import asyncio
import json
import logging
from collections import OrderedDict, deque
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from sandboxes.host.places import Shape, Slot
from sandboxes.host.runtime import GVISOR
from sandboxes.host.slots import SlotMaker
from sandboxes.host.threads import in_thread
from sandboxes.host.types import HostError

#: How many shapes are kept ready; the least recently asked for is dropped first.
_SHAPES = 4
_RETRY_SECONDS = 5.0
#: Making ready waits until nothing was asked for this long, so that a burst has the processors.
QUIET_SECONDS = 0.25
#: Most of a class whose kernel takes some of a processor even while nothing runs in it.
_BUSY = 2
#: It does not wait when no more than this part of what should be ready is left: 3 of the usual 56,
#: so that fifty at once have the processors to themselves.
_SHORT = 16

log = logging.getLogger(__name__)


class Pool:
    """Keeps ``ready`` slots of the shape asked for last, and a quarter as many of others.

    One slot is made at a time in the background, none while callers wait for theirs, and none in
    a burst that what is ready can answer. The shapes asked for are remembered in ``memory``, so
    that a host that restarts is ready at once.
    """

    def __init__(
        self,
        maker: SlotMaker,
        executor: Executor,
        *,
        ready: int,
        memory: Path,
        room: Callable[[], bool],
        quiet_seconds: float = QUIET_SECONDS,
    ) -> None:
        self._maker = maker
        self._executor = executor
        self._target = ready
        self._memory = memory
        self._room = room
        self._quiet_seconds = quiet_seconds
        self._quiet_from = 0.0
        self._slots: OrderedDict[Shape, deque[Slot]] = OrderedDict()
        self._waiting = 0
        self._wake = asyncio.Event()

    @property
    def count(self) -> int:
        """How many slots are ready, of all shapes."""
        return sum(len(slots) for slots in self._slots.values())

    async def take(self, shape: Shape) -> Slot:
        """A ready slot, or one made now."""
        return await self.ready(shape) or await self._make_now(shape)

    async def ready(self, shape: Shape) -> Slot | None:
        """A slot that waits, if there is one; either way more of its shape will."""
        self._ask(shape)
        self._quiet_from = asyncio.get_running_loop().time() + self._quiet_seconds
        waiting = self._slots[shape]
        while waiting:
            slot = waiting.popleft()
            self._wake.set()
            if slot.alive():
                return slot
            await self.unmake(slot)
        return None

    async def _make_now(self, shape: Shape) -> Slot:
        self._waiting += 1
        try:
            return await in_thread(self._executor, partial(self._maker.make, shape))
        finally:
            self._waiting -= 1
            self._wake.set()

    def _ask(self, shape: Shape) -> None:
        if shape in self._slots:
            self._slots.move_to_end(shape)
            return
        self._slots[shape] = deque()
        self._wake.set()
        self._memory.write_text(json.dumps([asdict(known) for known in self._slots]))

    def recall(self) -> None:
        """Begin with the shapes that were asked for before the host was restarted."""
        try:
            shapes = [_shape(row) for row in json.loads(self._memory.read_text())]
        except (OSError, ValueError, TypeError, KeyError):
            return
        for shape in shapes[-_SHAPES:]:
            if all(Path(layer).is_dir() for layer in shape.layers):
                self._slots[shape] = deque()
        self._wake.set()

    async def run(self) -> None:
        """Fill up until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._drop_oldest()
            while (shape := self._wanted()) is not None:
                if not await self._asked_meanwhile(shape):
                    await self._add(shape)

    def _wanted(self) -> Shape | None:
        """The shape asked for last comes first; nothing while callers wait or room is short."""
        if self._waiting or not self._room():
            return None
        for shape, slots in reversed(self._slots.items()):
            if len(slots) < self._target_of(shape):
                return shape
        return None

    def _target_of(self, shape: Shape) -> int:
        most = _BUSY if shape.isolation == GVISOR else self._target
        last = shape == next(reversed(self._slots))
        return min(most, self._target if last else self._target // 4)

    async def _asked_meanwhile(self, shape: Shape) -> bool:
        """Wait for quiet, unless ``shape`` has run short; whether a slot was taken first."""
        pause = self._quiet_from - asyncio.get_running_loop().time()
        if pause <= 0 or len(self._slots[shape]) <= self._target_of(shape) // _SHORT:
            return False
        self._wake.clear()
        try:
            async with asyncio.timeout(pause):
                await self._wake.wait()
        except TimeoutError:
            return False
        return True

    async def _add(self, shape: Shape) -> None:
        try:
            slot = await in_thread(self._executor, partial(self._maker.make, shape))
        except (HostError, OSError) as error:
            log.warning("No slot could be made ready: %s", error)
            await asyncio.sleep(_RETRY_SECONDS)
            self._wake.set()
            return
        if shape in self._slots:
            self._slots[shape].append(slot)
        else:
            await self.unmake(slot)

    async def _drop_oldest(self) -> None:
        while len(self._slots) > _SHAPES:
            _, slots = self._slots.popitem(last=False)
            for slot in slots:
                await self.unmake(slot)

    async def empty(self, executor: Executor) -> None:
        """End every slot that waits. ``run`` has been cancelled, and its executor shut down."""
        waiting = [slot for slots in self._slots.values() for slot in slots]
        self._slots.clear()
        self._executor = executor
        await asyncio.gather(*(self.unmake(slot) for slot in waiting))

    async def unmake(self, slot: Slot) -> None:
        """End one that nobody will have."""

        def end() -> None:
            self._maker.kill(slot)
            self._maker.unmake(slot)

        await in_thread(self._executor, end)


def _shape(row: dict[str, Any]) -> Shape:
    return Shape(**{**row, "layers": tuple(row["layers"])})
