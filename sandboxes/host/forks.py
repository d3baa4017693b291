"""Sandboxes that begin where a snapshot was taken."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from sandboxes.host.agent import questions
from sandboxes.host.code.keeping import Carried
from sandboxes.host.connections import Connections
from sandboxes.host.places import Fork, Shape, Slot
from sandboxes.host.pool import Pool
from sandboxes.host.runtime import RUNC
from sandboxes.host.slots import SlotMaker
from sandboxes.host.snapshots import Snapshots
from sandboxes.host.threads import in_thread
from sandboxes.host.types import CreateSpec, HostError

#: Less than a restored sandbox waits for its host's word.
_READY_SECONDS = 12.0

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Forked:
    """A slot with the snapshot's files, and its processes unless ``lost`` says why not.

    ``lost`` is None for a snapshot without memory. ``contexts`` have kernels among the processes.
    """

    slot: Slot
    lost: str | None = None
    contexts: Sequence[Carried] = ()

    @property
    def is_connected(self) -> bool:
        """Whether it has its network already: before its processes went on."""
        return self.lost == ""


class Forks:
    """Makes slots from snapshots. ``making`` has the threads for it."""

    def __init__(
        self,
        maker: SlotMaker,
        snapshots: Snapshots,
        connections: Connections,
        pool: Pool,
        making: Executor,
    ) -> None:
        self._maker = maker
        self._snapshots = snapshots
        self._connections = connections
        self._pool = pool
        self._making = making

    async def make(self, spec: CreateSpec, shape: Shape) -> Forked:
        """Raises ``HostError`` and ``OSError``."""
        fork, captured = self._snapshots.fork(spec.snapshot)
        layers = captured.layers
        if fork.memory is None:
            return Forked(await self._with_files(shape, fork))
        lost = "The template was built anew since."
        if spec.volume:
            lost = "A fork with a volume begins with the files alone."
        elif shape.outside:
            lost = "A fork whose connections are the machine's own begins with the files alone."
        elif _are_there(layers):
            try:
                slot = await self._restore(spec, replace(shape, layers=layers), fork)
                await self._release(slot, [one.kernel for one in captured.contexts if one.kernel])
                return Forked(slot, "", captured.contexts)
            except HostError as error:
                if error.code != "memory_lost":
                    raise
                log.exception("The fork %s is without processes", spec.sandbox_id)
                lost = error.message
        return Forked(await self._with_files(shape, replace(fork, memory=None)), lost)

    async def _with_files(self, shape: Shape, fork: Fork) -> Slot:
        """A slot that waits takes less than half the time that starting one takes.

        gVisor's cannot be given other files: its own kernel has them open.
        """
        slot = await self._pool.ready(shape) if shape.isolation == RUNC else None
        if slot is not None:
            put = partial(self._maker.put_files, slot, shape.layers, fork)
            try:
                filled = await in_thread(self._making, put)
            except (HostError, OSError):
                log.exception("A ready slot could not be given a snapshot's files; one is made")
                await self._pool.unmake(slot)
            else:
                # Its own disk ends then, which takes a while.
                self._making.submit(os.close, slot.root)
                return filled
        return await in_thread(self._making, partial(self._maker.make, shape, fork))

    async def _restore(self, spec: CreateSpec, shape: Shape, fork: Fork) -> Slot:
        loop = asyncio.get_running_loop()

        def ready(slot: Slot) -> None:
            work = self._connections.attach(spec, slot)
            asyncio.run_coroutine_threadsafe(work, loop).result(_READY_SECONDS)

        try:
            slot = await in_thread(self._making, partial(self._maker.make, shape, fork, ready))
        except BaseException:
            await self._connections.detach(spec.sandbox_id, network=spec.network)
            raise
        await self._connections.cut(spec, slot)
        return slot

    async def _release(self, slot: Slot, kernels: Sequence[str]) -> None:
        """All that the agent has is nobody's here, but for kernels that can be reached."""
        try:
            await questions.release(slot.agent_socket, sparing=kernels)
        except HostError as error:
            if error.code != "invalid" or not kernels:
                raise
            await questions.release(slot.agent_socket)
        await questions.hold_clock(slot.agent_socket, hold=False)


def _are_there(layers: tuple[str, ...]) -> bool:
    return all(Path(layer).is_dir() for layer in layers)
