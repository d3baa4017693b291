"""After a restart: find the sandboxes that run, finish the rest, clear what is left over."""

from __future__ import annotations

import asyncio
import logging
import shutil
from functools import partial
from pathlib import Path

from sandboxes.host import endings
from sandboxes.host.box import Box, State, ended_in
from sandboxes.host.connections import FAILURES, told_in
from sandboxes.host.daemon import Host
from sandboxes.host.live import Live
from sandboxes.host.pausing import last_pause
from sandboxes.host.sleepers import Remains
from sandboxes.host.slots import SlotMaker
from sandboxes.host.threads import in_thread
from sandboxes.host.types import HostError
from sandboxes.host.work import Work
from timeline.events import NewEvent
from timeline.journal import Journal

_RECOVER_SECONDS = 10.0
_SWEEP_SECONDS = 15.0

log = logging.getLogger(__name__)


async def recover(host: Host) -> None:
    """Every sandbox is served again, or its end is written, before this returns.

    One whose agent does not answer is given up waiting for after ten seconds; it stays served.
    """
    found = _found(host)
    await host.connections.start()
    waiting = []
    for remains in found:
        live = await _recover_one_safely(host, remains)
        if live is not None:
            live.limits.rebase()
            waiting.append(_reattach(host, live))
    await asyncio.gather(*waiting)
    await host.connections.sweep(host.known.keys())
    await in_thread(host.threads, partial(sweep, host.maker))


def _found(host: Host) -> list[Remains]:
    """What an earlier host left of its sandboxes, with journals that take connections' events."""
    found = []
    for directory in sorted(host.maker.places.sandboxes.iterdir()):
        try:
            state, journal = State.load(directory), Journal(directory, directory.name)
        except OSError:
            log.exception("Sandbox %s cannot be read; its folder is left", directory.name)
            continue
        if state is not None and state.status == "ended" and not journal.last:
            journal.delete()
            host.keep_meter(directory, state.slot)
            continue
        if state is None or not journal.last:
            log.info("Sandbox %s had not begun", directory.name)
            journal.delete()
            shutil.rmtree(directory)
            continue
        if state.status != "ended" and not ended_in(journal):
            host.connections.follow(directory.name, journal, told=told_in(journal))
        nobody = directory / "nobody"
        found.append(Remains(state, directory, journal, agent_socket=nobody))
    return found


async def sweep_again(host: Host) -> None:
    """Until cancelled: a runtime that outlived a killed host may have started something since,
    and what could not be taken away when its sandbox ended perhaps can be now."""
    while True:
        await asyncio.sleep(_SWEEP_SECONDS)
        await host.connections.sweep(host.known.keys())
        await in_thread(host.threads, partial(sweep, host.maker))


def sweep(maker: SlotMaker) -> None:
    """Remove slots that belong to nobody: ready ones, half-made ones, half-removed ones."""
    for name in sorted(maker.names() - maker.in_use()):
        try:
            maker.discard(name)
        except (HostError, OSError):
            log.exception("What is left of slot %s cannot be removed", name)


async def _recover_one_safely(host: Host, remains: Remains) -> Live | None:
    """One that cannot be found again must not keep the host from serving the others."""
    try:
        return await _recover_one(host, remains)
    except Exception:
        name = remains.sandbox_id
        log.exception("Sandbox %s could not be found again; its folder is left", name)
        return None


async def _recover_one(host: Host, remains: Remains) -> Live | None:
    state, directory, journal = remains.state, remains.directory, remains.journal
    slot = host.maker.found(state.slot) if state.status != "ended" else None
    if slot is None and await _sleeps(host, remains):
        return None
    if slot is not None:
        box = Box(state.spec, directory, state.env, journal, slot)
        if state.ending is None:
            host.metering.add(box)
            return host.adopt(box, paused=state.paused)
        async with host.volumes.written_out(box):
            await in_thread(host.threads, partial(host.maker.kill, slot))
    await host.metering.left(directory.name, directory, host.maker.group(state.slot))
    await host.connections.detach(remains.sandbox_id, network=state.spec.network)
    if state.status != "ended":
        await _finish(remains, recordings=host.maker.places.recordings)
    host.shipper.add(journal)
    host.tasks.spawn(host.retire(directory, journal, slot))
    return None


async def _sleeps(host: Host, remains: Remains) -> bool:
    """Whether it was paused, and all of it is on disk: then it can be resumed."""
    state = remains.state
    paused = last_pause(remains.journal, state.paused)
    if state.status == "ended" or state.ending is not None or ended_in(remains.journal):
        return False
    if paused is None or not paused.is_saved or host.memory.of(state.slot) is None:
        return False
    await host.connections.detach(remains.sandbox_id, network=state.spec.network)
    host.metering.rest(remains.sandbox_id, remains.directory)
    host.sleepers.add(remains, paused)
    host.shipper.add(remains.journal)
    return True


async def _finish(remains: Remains, *, recordings: Path) -> None:
    """Write the ends that its host did not come to write: of its commands, then its own."""
    state, journal = remains.state, remains.journal
    if not ended_in(journal):
        work = Work.of(remains, has_kernel=True, recordings=recordings)
        work.recall(held=False)
        await work.recover()
        await work.settled(_RECOVER_SECONDS)
        await work.close(_RECOVER_SECONDS)
        last: NewEvent = state.ending.event() if state.ending else endings.LOST
        await endings.write(journal, [last])
    State(state.spec, state.env, state.slot, "ended").save(remains.directory)


async def _take_up(host: Host, live: Live) -> None:
    """A paused one's agent cannot answer; its commands are taken up when it is resumed."""
    await live.pause.settle()
    live.work.recall(held=live.pause.state is not None)
    if live.pause.state is None:
        await host.metering.go_on(live.box.sandbox_id)
        await live.work.recover()
    else:
        await host.metering.hold(live.box.sandbox_id)


async def _reattach(host: Host, live: Live) -> None:
    box = live.box
    try:
        await host.connections.resume(box.spec, box.slot)
    except FAILURES:
        log.exception("Sandbox %s is without its network", box.sandbox_id)
    try:
        async with asyncio.timeout(_RECOVER_SECONDS):
            await _take_up(host, live)
    except Exception:
        log.exception("The commands of %s could not be found again", live.box.sandbox_id)
    host.shipper.add(live.box.journal)
