"""Named snapshots: copies of sandboxes' private disks and memory, from which others are forked.

A copy is taken while the sandbox stands still for a moment, and checked before it counts. It keeps
the owners' ids of the slot that it came from; ``Fork`` says which these are.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sandboxes.host import disks
from sandboxes.host.code.keeping import Carried
from sandboxes.host.memory import Memory
from sandboxes.host.places import Fork, Slot
from sandboxes.host.slots import SlotMaker
from sandboxes.host.types import HostError

#: Nothing is lost without it.
NOTHING_RAN = "No process ran in it, so there was no memory to keep."

_MIB = 1024 * 1024

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Captured:
    """What is known of a snapshot: the machine's id behind the disk's 0, and how much it holds.

    With memory it is forked on the same ``layers`` and with these ``contexts`` of the interpreter;
    ``without`` says why there is none.
    """

    base: int
    size_mb: int
    memory: bool = False
    layers: tuple[str, ...] = ()
    without: str = ""
    contexts: tuple[Carried, ...] = ()

    @property
    def nothing_ran(self) -> bool:
        """Whether it is without memory only because there was none to keep."""
        return self.without == NOTHING_RAN


class Snapshots:
    """Every method blocks."""

    def __init__(self, maker: SlotMaker, memory: Memory) -> None:
        self._maker = maker
        self._memory = memory
        self._folder = maker.places.directory / "snapshots"

    def prepare(self) -> None:
        """Make the folder, and remove what a killed host had not finished."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        for path in self._folder.glob("*.new"):
            shutil.rmtree(path, ignore_errors=True)

    def copy(self, snapshot_id: str, slot: Slot, *, without: str) -> str:
        """Disk and memory as they are now; why without memory, or an empty string.

        Nothing may run in the slot meanwhile, so that whether anything is in memory is as sure as
        the files. ``without`` says why memory cannot be had at all.
        Raises ``HostError``.
        """
        scratch = self._begin(snapshot_id)
        try:
            self._memory.flush(slot.name)
            disks.clone(self._maker.image(slot.name), scratch / "disk.ext4")
        except OSError as error:
            self.drop(snapshot_id)
            raise HostError("host_full", f"The host cannot keep the copy: {error}.") from error
        if not self._memory.is_needed(slot):
            return NOTHING_RAN
        return without or self._keep_memory(slot, scratch / "memory")

    def _begin(self, snapshot_id: str) -> Path:
        scratch = self._scratch(snapshot_id)
        if scratch.exists() or self._path(snapshot_id).exists():
            raise HostError("invalid", "There is a snapshot with this id already.")
        scratch.mkdir(mode=0o700, parents=True)
        return scratch

    def _keep_memory(self, slot: Slot, folder: Path) -> str:
        """Of a paused sandbox it is on disk already, and never changes there."""
        try:
            if self._memory.of(slot.name) is not None:
                self._link(slot.name, folder)
            else:
                self._memory.write_to(slot, folder)
        except (OSError, HostError) as error:
            log.warning("A snapshot is without memory: %s", error)
            shutil.rmtree(folder, ignore_errors=True)
            return error.message if isinstance(error, HostError) else "The host's disk is full."
        return ""

    def _link(self, name: str, folder: Path) -> None:
        source = self._memory.of(name)
        if source is not None:
            shutil.copytree(source / "images", folder / "images", copy_function=os.link)

    def finish(
        self, snapshot_id: str, *, slot: str, without: str, contexts: Sequence[Carried]
    ) -> Captured:
        """Check the copy; from here on it can be forked. Raises ``HostError``."""
        scratch = self._scratch(snapshot_id)
        try:
            disks.check(scratch / "disk.ext4")
            memory = (scratch / "memory").is_dir()
            layers = self._maker.layers(slot) if memory else ()
            size_mb = max(1, -(-_blocks(scratch) * 512 // _MIB))
            base = self._maker.disk_base(slot)
            captured = Captured(
                base,
                size_mb,
                memory,
                layers,
                without="" if memory else without,
                contexts=tuple(contexts) if memory else (),
            )
            (scratch / "snapshot.json").write_text(json.dumps(asdict(captured)))
            scratch.rename(self._path(snapshot_id))
        except (OSError, subprocess.SubprocessError) as error:
            self.drop(snapshot_id)
            raise HostError("internal", f"The copy cannot be used: {error}.") from error
        return captured

    def drop(self, snapshot_id: str) -> None:
        """Remove it, finished or not. One that is not there is fine."""
        for path in (self._scratch(snapshot_id), self._path(snapshot_id)):
            shutil.rmtree(path, ignore_errors=True)

    def fork(self, snapshot_id: str) -> tuple[Fork, Captured]:
        """What a slot is made from, and what is known of the snapshot.

        Raises ``HostError`` (snapshot_gone).
        """
        folder = self._path(snapshot_id)
        try:
            captured = _captured(json.loads((folder / "snapshot.json").read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise HostError(
                "snapshot_gone", "This host no longer has the snapshot; take another."
            ) from error
        memory = folder / "memory" if captured.memory else None
        return Fork(folder / "disk.ext4", captured.base, memory), captured

    def _path(self, snapshot_id: str) -> Path:
        return self._folder / snapshot_id

    def _scratch(self, snapshot_id: str) -> Path:
        return self._folder / f"{snapshot_id}.new"


def _captured(row: dict[str, Any]) -> Captured:
    contexts = tuple(Carried(**one) for one in row.get("contexts", ()))
    return Captured(**{**row, "layers": tuple(row.get("layers", ())), "contexts": contexts})


def _blocks(folder: Path) -> int:
    """What a snapshot takes, in blocks of 512 bytes."""
    return sum(path.lstat().st_blocks for path in folder.rglob("*"))
