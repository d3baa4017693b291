"""Slots for new sandboxes: of a template or a snapshot, with network and volume."""

from __future__ import annotations

import logging
from concurrent.futures import Executor
from functools import partial

from sandboxes.host import endings
from sandboxes.host.connections import Connections
from sandboxes.host.forks import Forked, Forks
from sandboxes.host.images.store import Store, Template, TemplateError
from sandboxes.host.places import Shape, Slot
from sandboxes.host.pool import Pool
from sandboxes.host.runtime import GVISOR
from sandboxes.host.slots import SlotMaker
from sandboxes.host.threads import in_thread
from sandboxes.host.types import CreateSpec, HostError
from sandboxes.host.volumes import Volumes
from timeline.events import Actor, NewEvent

log = logging.getLogger(__name__)


class Creating:
    """Of one host. What it makes is nobody's sandbox yet."""

    def __init__(
        self,
        *,
        maker: SlotMaker,
        store: Store,
        pool: Pool,
        forks: Forks,
        connections: Connections,
        volumes: Volumes,
        threads: Executor,
    ) -> None:
        self._maker = maker
        self._store = store
        self._pool = pool
        self._forks = forks
        self._connections = connections
        self._volumes = volumes
        self._threads = threads

    def template(self, name: str) -> Template:
        """Raises ``HostError`` (template_unavailable)."""
        try:
            return self._store.load(name)
        except TemplateError as error:
            raise HostError("template_unavailable", str(error)) from error

    async def connected_slot(
        self, spec: CreateSpec, template: Template, actor: Actor
    ) -> tuple[Forked, list[NewEvent]]:
        """A slot with all that was asked for, and the events of it. Raises ``HostError``."""
        forked = await self._slot(spec, template)
        try:
            if not forked.is_connected:
                await self._connections.attach(spec, forked.slot)
            return forked, await self._volumes.attach(spec, forked.slot, actor=actor)
        except BaseException:
            await self.abandon(spec, forked.slot)
            raise

    async def abandon(self, spec: CreateSpec, slot: Slot) -> None:
        """Remove all that there is of one that does not come to be."""
        directory = self._maker.places.sandboxes / spec.sandbox_id
        await in_thread(self._threads, partial(endings.abandon, self._maker, slot, directory))
        await self._connections.detach(spec.sandbox_id, network=spec.network)

    async def _slot(self, spec: CreateSpec, template: Template) -> Forked:
        layers = tuple(str(path) for path in self._store.paths(template))
        self._check_isolation(spec.isolation)
        outside = spec.isolation == GVISOR and spec.network == "open"
        shape = Shape(
            layers,
            spec.cpu,
            spec.memory_mb,
            spec.disk_mb,
            spec.pids,
            isolation=spec.isolation,
            outside=outside,
        )
        try:
            if spec.snapshot:
                return await self._forks.make(spec, shape)
            return Forked(await self._pool.take(shape))
        except OSError as error:
            log.exception("A slot could not be made")
            raise HostError("internal", f"The sandbox could not be started: {error}.") from error

    def _check_isolation(self, name: str) -> None:
        if trouble := self._maker.runtimes[name].trouble():
            message = f"This host cannot isolate with {name}: {trouble}"
            raise HostError("isolation_unavailable", message)
