"""What a sandbox's end takes: its last event, and its traces removed."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import Sequence
from concurrent.futures import Executor
from functools import partial
from pathlib import Path

from sandboxes.host import totals
from sandboxes.host.box import failed_event
from sandboxes.host.places import Slot
from sandboxes.host.slots import SlotMaker
from sandboxes.host.threads import in_thread
from timeline.events import NewEvent
from timeline.journal import Journal
from timeline.shipper import Shipper

_RETRY_SECONDS = 1.0
_STORED_SECONDS = 2.0
_KEPT = ("journal", totals.FILE)

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


class Retired:
    """Folders of ended sandboxes, each removed once its journal and meter are stored and gone."""

    def __init__(self, shipper: Shipper) -> None:
        self._shipper = shipper
        self.folders: set[Path] = set()

    def add(self, journal: Journal, directory: Path) -> None:
        """Nothing is appended any more; the shipper deletes the journal when it may."""
        self._shipper.remove(journal.sandbox_id)
        self.folders.add(directory)

    async def run(self, threads: Executor) -> None:
        """Until cancelled. Looking now and then costs less than waiting for each."""
        while True:
            await asyncio.sleep(_STORED_SECONDS)
            self.folders -= await in_thread(threads, partial(_remove_stored, self.folders.copy()))


def _remove_stored(folders: set[Path]) -> set[Path]:
    stored = {folder for folder in folders if not any((folder / name).exists() for name in _KEPT)}
    for folder in stored:
        shutil.rmtree(folder, ignore_errors=True)
    return stored


def remove_outputs(directory: Path) -> None:
    """What its commands and cells wrote goes at once; it may be large."""
    for name in ("commands", "code"):
        shutil.rmtree(directory / name, ignore_errors=True)
