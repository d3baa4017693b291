"""What a sandbox's end takes: its last event, and its traces removed."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

from sandboxes.host.box import failed_event
from sandboxes.host.slots import Slot, SlotMaker
from sandboxes.host.threads import in_thread
from timeline.events import NewEvent
from timeline.journal import Journal
from timeline.shipper import Shipper

_RETRY_SECONDS = 1.0
_STORED_SECONDS = 60.0

log = logging.getLogger(__name__)

#: What a host that finds a sandbox gone writes down.
LOST = failed_event(
    reason="host_lost",
    detail="The sandbox was gone when its host came back; the machine may have been restarted.",
)


def death(how: str, *, out_of_memory: bool) -> NewEvent:
    """Why a sandbox failed whose PID 1 died. ``how`` is "status N", "signal N" or empty."""
    if out_of_memory:
        reason = "out_of_memory"
        detail = "The sandbox used up its memory and was ended; take a larger size."
    elif how.startswith("status"):
        reason, detail = "agent_exited", f"The sandbox's first process ended by itself ({how})."
    else:
        reason = "killed"
        detail = f"The sandbox was killed from outside ({how or 'nobody saw how'})."
    return failed_event(reason=reason, detail=detail)


async def write(journal: Journal, events: Sequence[NewEvent]) -> None:
    """Append, and keep trying while the disk is full: a sandbox's end must not go missing."""
    while True:
        try:
            journal.append_many(events)
        except OSError:
            log.exception("The last events of %s cannot be written yet", journal.sandbox_id)
            await asyncio.sleep(_RETRY_SECONDS)
        else:
            return


def abandon(maker: SlotMaker, slot: Slot, directory: Path) -> None:
    """Undo a sandbox that never began."""
    maker.kill(slot)
    maker.unmake(slot)
    shutil.rmtree(directory, ignore_errors=True)


async def delete_when_stored(
    shipper: Shipper, journal: Journal, directory: Path, threads: Executor
) -> None:
    """Its outputs go at once, its journal and folder when PostgreSQL has every event."""
    outputs = directory / "commands"
    await in_thread(threads, partial(shutil.rmtree, outputs, ignore_errors=True))
    while not await shipper.settled(journal.sandbox_id, _STORED_SECONDS):
        log.info("Events of %s are not stored yet", journal.sandbox_id)
    shipper.remove(journal.sandbox_id)
    await in_thread(threads, partial(shutil.rmtree, directory, ignore_errors=True))
