"""Paused sandboxes of which nothing runs: the machine was restarted, disk and memory are there."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path

from sandboxes.host import endings
from sandboxes.host.agent.ties import Ties
from sandboxes.host.box import Box, Ending, State
from sandboxes.host.code.interpreter import TEMPLATES
from sandboxes.host.connections import FAILURES, Connections
from sandboxes.host.memory import Memory
from sandboxes.host.paused import Paused
from sandboxes.host.places import Shape, Slot
from sandboxes.host.slots import SlotMaker
from sandboxes.host.threads import in_thread
from sandboxes.host.types import HostError
from sandboxes.host.volumes import Volumes
from sandboxes.host.work import Work
from timeline.journal import Journal

#: Less than a restored sandbox waits for its host's word.
_READY_SECONDS = 12.0
_END_SECONDS = 5.0

log = logging.getLogger(__name__)


@dataclass(slots=True)
class Remains:
    """A sandbox that does not run, as its commands see it; see ``sandboxes.host.types.Box``."""

    state: State
    directory: Path
    journal: Journal
    agent_socket: Path
    ties: Ties = field(default_factory=Ties)

    @property
    def sandbox_id(self) -> str:
        return self.state.spec.sandbox_id

    @property
    def env(self) -> Mapping[str, str]:
        return self.state.env

    @property
    def own_env(self) -> Mapping[str, str]:
        return self.state.spec.env

    @property
    def masking(self) -> Sequence[str]:
        return self.state.spec.masking

    @property
    def pids(self) -> int:
        return self.state.spec.pids

    @property
    def memory_mb(self) -> int:
        return self.state.spec.memory_mb


@dataclass(slots=True, eq=False)
class Sleeper:
    """One of them. ``lock`` is held by whoever wakes or ends it."""

    remains: Remains
    paused: Paused
    work: Work
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)

    @property
    def slot(self) -> str:
        """The name of the slot whose disk and memory it is."""
        return self.remains.state.slot


class Sleepers:
    """Those of one host. ``making`` has the threads in which slots are made."""

    def __init__(
        self,
        maker: SlotMaker,
        memory: Memory,
        connections: Connections,
        volumes: Volumes,
        making: Executor,
    ) -> None:
        self._maker = maker
        self._memory = memory
        self._connections = connections
        self._volumes = volumes
        self._making = making
        self._known: dict[str, Sleeper] = {}

    def ids(self) -> list[str]:
        return list(self._known)

    def get(self, sandbox_id: str) -> Sleeper | None:
        return self._known.get(sandbox_id)

    def add(self, remains: Remains, paused: Paused) -> None:
        """Before its journal is shipped: what it ran had said is read from there."""
        has_kernel = remains.state.spec.template in TEMPLATES
        work = Work.of(remains, has_kernel=has_kernel, recordings=self._maker.places.recordings)
        work.recall(held=True)
        self._maker.keep(remains.state.slot)
        self._known[remains.sandbox_id] = Sleeper(remains, paused, work)

    def remove(self, sleeper: Sleeper) -> None:
        """It runs again, or has ended."""
        self._known.pop(sleeper.remains.sandbox_id, None)

    async def close(self) -> None:
        """Leave them for the next host to find."""
        for sleeper in self._known.values():
            await sleeper.work.close(_END_SECONDS)
            sleeper.remains.journal.close()

    async def restore(self, sleeper: Sleeper) -> tuple[Box, str]:
        """A slot with its disk and its processes; why without these, or an empty string.

        Raises ``HostError``, and then it sleeps on.
        """
        try:
            try:
                box, lost = await self._restore(sleeper, with_memory=True), ""
            except HostError as error:
                if error.code != "memory_lost":
                    raise
                log.exception("The processes of %s are lost", sleeper.remains.sandbox_id)
                box, lost = await self._restore(sleeper, with_memory=False), error.message
        except OSError as error:
            raise HostError("internal", f"The sandbox could not be restored: {error}.") from error
        sleeper.remains.agent_socket = box.agent_socket
        return box, lost

    async def _restore(self, sleeper: Sleeper, *, with_memory: bool) -> Box:
        """From the moment that its new slot is noted the old one's memory is of no use."""
        remains, loop = sleeper.remains, asyncio.get_running_loop()
        state = remains.state
        volume = await self._volumes.mount_of(state.spec.volume) if state.spec.volume else None
        boxes: list[Box] = []

        async def connect(slot: Slot) -> None:
            box = Box(state.spec, remains.directory, state.env, remains.journal, slot, remains.ties)
            boxes.append(box)
            try:
                await self._connections.resume(state.spec, slot)
            except FAILURES:
                log.exception("Sandbox %s is without its network", remains.sandbox_id)
            box.save("paused", paused=replace(sleeper.paused, is_saved=False))

        def ready(slot: Slot) -> None:
            asyncio.run_coroutine_threadsafe(connect(slot), loop).result(_READY_SECONDS)

        def make() -> Slot:
            fork = self._memory.fork(state.slot)
            fork = replace(fork, volume=volume) if with_memory else replace(fork, memory=None)
            return self._maker.make(self._shape(state), fork, ready)

        slot = await in_thread(self._making, make)
        if with_memory:
            await self._connections.cut(state.spec, slot)
        else:
            await self._volumes.attach(state.spec, slot, actor=sleeper.paused.actor)
            await connect(slot)
        return boxes[-1]

    def _shape(self, state: State) -> Shape:
        spec, layers = state.spec, self._maker.layers(state.slot)
        return Shape(
            layers, spec.cpu, spec.memory_mb, spec.disk_mb, spec.pids, isolation=spec.isolation
        )

    async def end(self, sleeper: Sleeper, ending: Ending) -> None:
        """Write the ends of all that it ran, then its own."""
        remains = sleeper.remains
        state = replace(remains.state, status="paused", ending=ending, paused=sleeper.paused)
        state.save(remains.directory)
        sleeper.work.code.go_on()
        await sleeper.work.recover()
        await sleeper.work.settled(_END_SECONDS)
        await sleeper.work.close(_END_SECONDS)
        await endings.write(remains.journal, [ending.event()])
        replace(state, status="ended").save(remains.directory)

    async def discard(self, name: str) -> None:
        """Remove what a slot had been that nobody needs any more."""
        try:
            await in_thread(self._making, partial(self._maker.discard, name))
        except (HostError, OSError):
            log.exception("What is left of slot %s cannot be removed", name)
