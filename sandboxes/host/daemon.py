"""The host: creates sandboxes, watches them, ends them. ``recovery`` finds them again."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections import ChainMap
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path

from sandboxes.host import endings, process
from sandboxes.host.box import (
    Box,
    Ending,
    created_event,
    environment,
    running_event,
    snapshot_event,
)
from sandboxes.host.code.interpreter import TEMPLATES
from sandboxes.host.code.keeping import carried
from sandboxes.host.connections import Connections
from sandboxes.host.creating import Creating
from sandboxes.host.egress.policy import Rule
from sandboxes.host.files import Files
from sandboxes.host.forks import Forked, Forks
from sandboxes.host.images.store import Store
from sandboxes.host.limits import LimitWatch
from sandboxes.host.live import Live
from sandboxes.host.looking import look
from sandboxes.host.memory import Memory
from sandboxes.host.metering import Metering
from sandboxes.host.paused import Paused
from sandboxes.host.pausing import Pause, Wake
from sandboxes.host.places import Slot
from sandboxes.host.pool import Pool
from sandboxes.host.previews import Told
from sandboxes.host.sleepers import Sleeper, Sleepers
from sandboxes.host.slots import SlotMaker
from sandboxes.host.snapshots import Captured, Snapshots
from sandboxes.host.tasks import Tasks
from sandboxes.host.terminals.recording import prune
from sandboxes.host.threads import in_thread
from sandboxes.host.types import CreateSpec, HostError
from sandboxes.host.volumes import Volumes
from sandboxes.host.work import Work
from timeline.events import SYSTEM, Actor, NewEvent, now_us
from timeline.journal import Journal
from timeline.shipper import Shipper

MIN_FREE_BYTES = 2 * 1024**3
_CLOSE_SECONDS = 5.0
_DRAIN_SECONDS = 5.0
_REMOVE_SECONDS = 15.0
_THREADS = 8


class Host:
    """All sandboxes of one data folder. One event loop owns it; what blocks is in threads."""

    def __init__(
        self, maker: SlotMaker, store: Store, shipper: Shipper, *, ready: int, makers: int
    ) -> None:
        self.maker = maker
        self.store = store
        self.shipper = shipper
        self.threads = ThreadPoolExecutor(_THREADS, "host")
        self._making = ThreadPoolExecutor(makers, "make")
        self._looking = ThreadPoolExecutor(1, "limits")
        self.metering = Metering(self._looking)
        self.memory = Memory(maker, self.has_room)
        self.snapshots = Snapshots(maker, self.memory)
        self.volumes = Volumes(maker)
        self._live: dict[str, Live] = {}
        self._begun: dict[str, None] = {}
        #: Ids of sandboxes that are here or being made, as of whenever it is looked at.
        self.known = ChainMap[str, object](self._live, self._begun)  # type: ignore[arg-type]
        self.tasks = Tasks()
        self._retired = endings.Retired(shipper)
        self.connections = Connections(maker.places, maker.ids)
        self.sleepers = Sleepers(maker, self.memory, self.connections, self.volumes, self._making)
        self._removals: set[asyncio.Task[None]] = set()
        self._pool = Pool(
            maker,
            self._making,
            ready=ready,
            memory=maker.places.directory / "shapes.json",
            room=self.has_room,
        )
        forks = Forks(maker, self.snapshots, self.connections, self._pool, self._making)
        self._creating = Creating(
            maker=maker,
            store=store,
            pool=self._pool,
            forks=forks,
            connections=self.connections,
            volumes=self.volumes,
            threads=self.threads,
        )

    def start(self) -> None:
        """Begin to ship events, to watch limits and to keep slots ready."""
        self.snapshots.prepare()
        self.volumes.prepare()
        self._pool.recall()
        looks = look(self._live.values, self._looking)
        retiring = self._retired.run(self.threads)
        for work in (self.shipper.run(), self._pool.run(), looks, retiring):
            self.tasks.spawn(work)
        self.tasks.spawn(self.metering.run())

    async def close(self) -> None:
        """Stop, and leave the sandboxes running for the next host to find."""
        if self._removals:
            await asyncio.wait(self._removals, timeout=_REMOVE_SECONDS)
        await self.tasks.cancel()
        self._making.shutdown(wait=True)
        await self._pool.empty(self.threads)
        for live in self._live.values():
            asyncio.get_running_loop().remove_reader(live.box.slot.pidfd)
            await live.work.close(_CLOSE_SECONDS)
            live.box.journal.close()
        await self.sleepers.close()
        await self.connections.close(stop=not self._live)
        for executor in (self.threads, self._looking):
            executor.shutdown(wait=True)
        self.volumes.close()
        self.metering.close()
        if not self._live:
            self.maker.clear()

    async def end_all(self, *, actor: Actor = SYSTEM) -> None:
        """End every sandbox, and give their last events a little time to leave."""
        ids = self.ids()
        ends = [self.terminate(one, actor=actor, reason="shutdown") for one in ids]
        await asyncio.gather(*ends, return_exceptions=True)
        await asyncio.gather(*(self.shipper.drained(one, _DRAIN_SECONDS) for one in ids))

    def ids(self) -> list[str]:
        """Of the sandboxes that run or are paused."""
        return sorted([*self._live, *self.sleepers.ids()])

    def paused_ids(self) -> list[str]:
        """Of the sandboxes that are paused."""
        still = (name for name, live in self._live.items() if live.pause.state is not None)
        return sorted([*still, *self.sleepers.ids()])

    def has_room(self) -> bool:
        """Whether the disk has enough left for another sandbox."""
        return self.free_bytes() >= MIN_FREE_BYTES

    def free_bytes(self) -> int:
        """Of the disk that the sandboxes' files are on."""
        return shutil.disk_usage(self.maker.places.directory).free

    def ready_count(self) -> int:
        """Of sandboxes that were started ahead of time."""
        return self._pool.count

    def command_count(self) -> int:
        """Of commands that run, in all sandboxes together."""
        return sum(live.commands.count for live in self._live.values())

    def served(self, sandbox_id: str) -> Live | None:
        """One that is served, whatever state it is in."""
        return self._live.get(sandbox_id)

    def live(self, sandbox_id: str) -> Live:
        """One that can be worked in. Raises ``HostError`` as ``found``, and paused."""
        live = self.found(sandbox_id)
        live.pause.check()
        return live

    def found(self, sandbox_id: str) -> Live:
        """Raises ``HostError``: not_running for one that ended, not_found for one never seen."""
        live = self._live.get(sandbox_id)
        if live is not None and live.end is None:
            return live
        if self.sleepers.get(sandbox_id) is not None:
            raise HostError("paused", "The sandbox is paused; resume it first.")
        if live is not None or (self.maker.places.sandboxes / sandbox_id).is_dir():
            raise HostError("not_running", "The sandbox has ended; create another one.")
        raise HostError("not_found", "There is no such sandbox on this host.")

    async def create(self, spec: CreateSpec, *, actor: Actor) -> int:
        """Start a sandbox; how many milliseconds that took."""
        at, started = now_us(), time.monotonic()
        directory = self.maker.places.sandboxes / spec.sandbox_id
        if spec.sandbox_id in self._begun or directory.exists():
            raise HostError("invalid", "A sandbox with this id is on this host already.")
        if not self.has_room():
            raise HostError("host_full", "This host's disk is nearly full; end some sandboxes.")
        self._begun[spec.sandbox_id] = None
        try:
            template = self._creating.template(spec.template)
            forked, attached = await self._creating.connected_slot(spec, template, actor)
            boot_ms = max(1, round((time.monotonic() - started) * 1000))
            created = created_event(spec, actor=actor, at=at)
            events = [created, *attached, running_event(boot_ms, lost=forked.lost)]
            network = await self.connections.environment(spec)
            env = environment(template.env, network, spec.env)
            await self._begin(spec, directory, env, forked, events)
        finally:
            del self._begun[spec.sandbox_id]
        return boot_ms

    async def _begin(
        self,
        spec: CreateSpec,
        directory: Path,
        env: dict[str, str],
        forked: Forked,
        events: list[NewEvent],
    ) -> None:
        """From here on it is this sandbox's slot; a killed host finds the first event or none."""
        try:
            box = Box.open(spec, directory, env, forked.slot)
            for context in forked.contexts:
                context.plant(box)
            self.metering.begin(box)
            box.save("running")
            box.journal.append_many(events)
        except OSError as error:
            await self.metering.drop(spec.sandbox_id)
            await self._creating.abandon(spec, forked.slot)
            raise HostError("host_full", f"The host cannot keep its record: {error}.") from error
        live = self.adopt(box)
        if forked.contexts:
            live.code.recall(held=False)
            await live.code.recover()
        self.shipper.add(box.journal)

    def adopt(self, box: Box, *, paused: Paused | None = None, work: Work | None = None) -> Live:
        """Serve a sandbox that runs or is paused, from now on."""
        if work is None:
            recordings = self.maker.places.recordings
            work = Work.of(box, has_kernel=box.spec.template in TEMPLATES, recordings=recordings)
        pause = Pause(box, work, self.memory, self.threads, paused)
        live = Live(box, work, Files(box), LimitWatch(box), pause, Told(box))
        self._live[box.sandbox_id] = live
        self.connections.follow(box.sandbox_id, box.journal)
        asyncio.get_running_loop().add_reader(box.slot.pidfd, self._died, live)
        return live

    async def pause(
        self, sandbox_id: str, *, snapshot_id: str, actor: Actor, reason: str
    ) -> Paused:
        """Hold everything in a sandbox still. Raises ``HostError``."""
        live = self.found(sandbox_id)
        async with live.pause.lock:
            self.found(sandbox_id)
            try:
                paused = await live.pause.begin(
                    snapshot_id=snapshot_id,
                    reason=reason,
                    actor=actor,
                    stopped=partial(self.metering.hold, sandbox_id),
                )
            except BaseException:
                await self.metering.go_on(sandbox_id)
                raise
        if paused.is_saved:
            self.tasks.spawn(in_thread(self.threads, partial(self.memory.sync, live.box.slot.name)))
        return paused

    async def resume(self, sandbox_id: str, wake: Wake) -> None:
        """Let everything go on. Raises ``HostError``."""
        sleeper = self.sleepers.get(sandbox_id)
        if sleeper is not None:
            wake = replace(wake, lost=await self._wake(sleeper))
        live = self.found(sandbox_id)
        async with live.pause.lock:
            self.found(sandbox_id)
            await live.pause.end(wake)
            await self.metering.go_on(sandbox_id)
            await live.work.recover()

    async def _wake(self, sleeper: Sleeper) -> str:
        """Have it paused in the ordinary way; why without its processes, or an empty string."""
        async with sleeper.lock:
            if self.sleepers.get(sleeper.remains.sandbox_id) is not sleeper:
                return ""
            box, lost = await self.sleepers.restore(sleeper)
            self.metering.add(box)
            paused = replace(sleeper.paused, is_saved=False)
            box.save("paused", paused=paused)
            self.adopt(box, paused=paused, work=sleeper.work)
            self.sleepers.remove(sleeper)
            self.tasks.spawn(self.sleepers.discard(sleeper.slot))
            return lost

    async def snapshot(
        self, sandbox_id: str, *, snapshot_id: str, name: str, actor: Actor
    ) -> Captured:
        """Keep a copy of a sandbox, which goes on afterwards. Raises ``HostError``."""
        live = self.found(sandbox_id)
        if not self.has_room():
            raise HostError("host_full", "This host's disk is nearly full; end some sandboxes.")
        slot = live.box.slot
        async with live.pause.lock:
            self.found(sandbox_id)
            async with live.pause.still() as trouble:
                copy = partial(self.snapshots.copy, snapshot_id, slot, without=trouble)
                without = await in_thread(self.threads, copy)
                contexts = carried(live.box)
            finish = partial(
                self.snapshots.finish,
                snapshot_id,
                slot=slot.name,
                without=without,
                contexts=contexts,
            )
            captured = await in_thread(self.threads, finish)
            live.box.journal.append(snapshot_event(snapshot_id, name, actor, captured))
        return captured

    async def allow(self, sandbox_id: str, domain: str) -> None:
        """Open a restricted network to a domain, over TLS. Idempotent. Raises ``HostError``."""
        live = self.found(sandbox_id)
        if live.box.spec.network != "restricted":
            raise HostError("invalid", "Only a restricted network has an allowlist.")
        try:
            rule = Rule(domain)
            async with live.pause.lock:
                self.found(sandbox_id)
                if live.box.allow(rule):
                    paused = live.pause.state
                    live.box.save("paused" if paused else "running", paused=paused)
        except ValueError as error:
            raise HostError("invalid", str(error)) from error
        await self.connections.apply(live.box.spec)

    async def terminate(self, sandbox_id: str, *, actor: Actor, reason: str) -> None:
        """End a sandbox; returns when nothing of it runs and its last event is written."""
        live = self._live.get(sandbox_id)
        if live is None:
            return await self._end_sleeper(sandbox_id, Ending(reason, actor))
        end = live.end or self._begin_end(live, Ending(reason, actor))
        await asyncio.shield(end)

    async def _end_sleeper(self, sandbox_id: str, ending: Ending) -> None:
        sleeper = self.sleepers.get(sandbox_id)
        if sleeper is None:
            return
        async with sleeper.lock:
            if self.sleepers.get(sandbox_id) is not sleeper:
                return await self.terminate(sandbox_id, actor=ending.actor, reason=ending.reason)
            await self.sleepers.end(sleeper, ending)
            remains, group = sleeper.remains, self.maker.group(sleeper.slot)
            await self.metering.left(sandbox_id, remains.directory, group)
            self.sleepers.remove(sleeper)
            self.tasks.spawn(self.sleepers.discard(sleeper.slot))
            self.tasks.spawn(self.retire(remains.directory, remains.journal, None))

    def _died(self, live: Live) -> None:
        """PID 1 is gone, and with it everything else in the sandbox."""
        if live.end is None:
            self._begin_end(live, None)

    def _begin_end(self, live: Live, ending: Ending | None) -> asyncio.Task[None]:
        asyncio.get_running_loop().remove_reader(live.box.slot.pidfd)
        live.end = self.tasks.spawn(self._end(live, ending))
        return live.end

    async def _end(self, live: Live, ending: Ending | None) -> None:
        """Nothing runs any more, then its last event, then it is forgotten."""
        box = live.box
        if ending is not None:
            box.save("running", ending=ending)
        async with live.pause.lock, self.volumes.written_out(box):
            await in_thread(self.threads, partial(self.maker.kill, box.slot))
        live.code.go_on()
        await live.work.rejoin()
        await live.work.recover()
        await live.work.settled(_CLOSE_SECONDS)
        await live.work.close(_CLOSE_SECONDS)
        await self.connections.detach(box.sandbox_id, network=box.spec.network)
        await self.metering.end(box.sandbox_id, box.directory)
        died = "" if ending is not None else process.reap(box.slot.pidfd)
        events = await in_thread(self.threads, live.limits.look)
        starved = live.limits.is_out_of_memory()
        last = ending.event() if ending else endings.death(died, out_of_memory=starved)
        await endings.write(box.journal, [*events, last])
        box.save("ended")
        del self._live[box.sandbox_id]
        self.tasks.spawn(self.retire(box.directory, box.journal, box.slot))

    async def retire(self, directory: Path, journal: Journal, slot: Slot | None) -> None:
        """Remove what an ended sandbox leaves, its record last and only once it is stored."""
        if slot is not None:
            removal = self.tasks.spawn(in_thread(self.threads, partial(self.maker.unmake, slot)))
            self._removals.add(removal)
            removal.add_done_callback(self._removals.discard)
        await in_thread(self.threads, partial(endings.remove_outputs, directory))
        self._retired.add(journal, directory)

    def prune_recordings(self) -> None:
        """Make room for new recordings of terminals, in the background."""
        self.tasks.spawn(in_thread(self.threads, partial(prune, self.maker.places.recordings)))

    def keep_meter(self, directory: Path, slot: str) -> None:
        """For an ended sandbox of which only this is not stored yet; before ``start``."""
        self.metering.find_left(directory.name, directory, self.maker.group(slot))
        self._retired.folders.add(directory)
