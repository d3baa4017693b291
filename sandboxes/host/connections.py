"""The networks of one host's sandboxes, and the events of what is connected through them."""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Collection
from contextlib import suppress
from typing import cast

from sandboxes.host.agent import callers, questions
from sandboxes.host.egress import registries
from sandboxes.host.egress.client import EgressClient, EgressError
from sandboxes.host.egress.policy import Policy
from sandboxes.host.egress.registries import Registries
from sandboxes.host.ids import Ids
from sandboxes.host.nat import Nat, NatError
from sandboxes.host.networks import HATCH, PROXY_PORT, Door, Hatch, Mode, Networks
from sandboxes.host.places import Places, Slot
from sandboxes.host.runtime import GVISOR
from sandboxes.host.types import CreateSpec, HostError, JournalWriter
from timeline.events import Kind, NewEvent
from timeline.journal import Journal

FAILURES = (EgressError, NatError, OSError)
#: A host acknowledges what it has written at once, so only its last records can come again.
_TOLD = 1000
_KINDS = frozenset({Kind.NETWORK_ALLOWED, Kind.NETWORK_DENIED})

log = logging.getLogger(__name__)


class Connections:
    """What ``Networks`` is to a host: sandboxes by their specification, events by their journal.

    A machine on which the proxy or the translation of addresses cannot be had still runs
    sandboxes without a network; the others are refused with the reason.
    """

    def __init__(self, places: Places, ids: Ids) -> None:
        egress = EgressClient(places.directory / "egress", report=self._report, stage=places.stage)
        self._networks = Networks(egress=egress, nat=Nat(tag=places.stage.name[-4:]))
        self._ids = ids
        self._journals: dict[str, JournalWriter] = {}
        self._told: dict[str, frozenset[str]] = {}
        self._registries: asyncio.Task[Registries] | None = None

    async def start(self) -> None:
        """Take over what an earlier host left, which reports at once; its journals are open."""
        self._registries = asyncio.ensure_future(registries.registries())
        try:
            await self._networks.start()
        except FAILURES as error:
            log.error("Sandboxes cannot have every kind of network: %s", error)  # noqa: TRY400

    async def close(self, *, stop: bool) -> None:
        """Leave it to the next host, or with ``stop`` take it all down."""
        if self._registries is not None:
            self._registries.cancel()
            await asyncio.gather(self._registries, return_exceptions=True)
        with suppress(*FAILURES):
            await self._networks.close(stop=stop)

    async def registries(self) -> Registries:
        """Of this machine, found out once."""
        return await asyncio.shield(self._registries) if self._registries else Registries()

    async def environment(self, spec: CreateSpec) -> dict[str, str]:
        """What a sandbox's network adds to its environment."""
        if spec.network == "off":
            return {}
        found = await self.registries()
        return {**found.environment, **self._networks.environment(cast(Mode, spec.network))}

    async def attach(self, spec: CreateSpec, slot: Slot) -> None:
        """Connect a slot in which nothing but the agent runs. Raises ``HostError``."""
        if spec.network == "off":
            return
        try:
            await self.resume(spec, slot)
            self._write_resolvers(spec, slot)
            if spec.network == "restricted" and slot.isolation == GVISOR:
                await questions.forward(slot.agent_socket, port=PROXY_PORT, name=HATCH)
        except FAILURES as error:
            log.exception("The network of %s could not be made", spec.sandbox_id)
            raise HostError(
                "network_unavailable",
                f"The network could not be set up ({error}); try again, or take network off.",
            ) from error

    async def resume(self, spec: CreateSpec, slot: Slot) -> None:
        """After a restart: what is still there stays as it is. Raises one of ``FAILURES``."""
        if spec.network != "off":
            mode, policy = cast(Mode, spec.network), Policy.from_json(spec.rules)
            await self._networks.attach(
                mode, spec.sandbox_id, slot.identity.pid, policy=policy, door=self._door(slot)
            )

    def _door(self, slot: Slot) -> Door | None:
        if slot.isolation != GVISOR:
            return None
        return Hatch(callers.folder_of(slot.agent_socket), self._ids.base(slot.index))

    async def apply(self, spec: CreateSpec) -> None:
        """Its allowlist as it is now, for what is open too. Raises ``HostError``."""
        try:
            await self._networks.update(spec.sandbox_id, Policy.from_json(spec.rules))
        except (KeyError, *FAILURES) as error:
            raise HostError(
                "network_unavailable",
                f"The egress proxy did not take the change ({error}); try again.",
            ) from error

    async def cut(self, spec: CreateSpec, slot: Slot) -> None:
        """Break connections of restored processes whose other end was left behind."""
        if spec.network != "off":
            try:
                await self._networks.cut(cast(Mode, spec.network), slot.identity.pid)
            except OSError:
                log.exception("Old connections of %s were not broken", spec.sandbox_id)

    def follow(
        self, sandbox_id: str, journal: JournalWriter, *, told: frozenset[str] = frozenset()
    ) -> None:
        """Write this sandbox's connections into its journal from now on, but for records that an
        earlier host had written and did not come to acknowledge."""
        self._journals[sandbox_id] = journal
        self._told[sandbox_id] = told

    async def detach(self, sandbox_id: str, *, network: str = "") -> None:
        """Every connection has been reported on return, and none will be. Idempotent."""
        if network != "off":
            try:
                await self._networks.detach(sandbox_id)
            except FAILURES:
                log.exception("The network of %s could not be taken down", sandbox_id)
        self._journals.pop(sandbox_id, None)
        self._told.pop(sandbox_id, None)

    async def sweep(self, known: Collection[str]) -> None:
        """Take down what belongs to no ``known`` sandbox."""
        try:
            strays = await self._networks.sweep(known)
        except FAILURES:
            log.exception("Networks of sandboxes that are gone could not be looked for")
        else:
            if strays:
                log.info("Took down the networks of %s", ", ".join(strays))

    def _report(self, sandbox_id: str, event: NewEvent) -> None:
        journal = self._journals.get(sandbox_id)
        if journal is not None and event.data.get("record") not in self._told.get(sandbox_id, ()):
            journal.append(event)

    def _write_resolvers(self, spec: CreateSpec, slot: Slot) -> None:
        """Nobody runs in there yet who could put a link in the way; none is followed anyway."""
        text = self._networks.resolv_conf(cast(Mode, spec.network))
        etc = os.open("etc", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=slot.root)
        try:
            with suppress(FileNotFoundError):
                os.unlink("resolv.conf", dir_fd=etc)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
            fd = os.open("resolv.conf", flags, 0o644, dir_fd=etc)
            with os.fdopen(fd, "w") as file:
                owner = self._ids.base(slot.index)
                os.fchown(file.fileno(), owner, owner)
                file.write(text)
        finally:
            os.close(etc)


def told_in(journal: Journal) -> frozenset[str]:
    """Which of the proxy's records this journal has, as far as they may come again."""
    events = (event.data for event in journal.scan() if event.kind in _KINDS)
    return frozenset(deque((str(data.get("record")) for data in events), maxlen=_TOLD))
