"""Named snapshots: copies of sandboxes' private disks, from which others are forked.

A copy is taken while the sandbox stands still for a moment, and checked before it counts. It keeps
the owners' ids of the slot that it came from; ``Fork`` says which these are.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
from dataclasses import asdict, dataclass
from pathlib import Path

from sandboxes.host import disks
from sandboxes.host.slots import Fork, SlotMaker
from sandboxes.host.types import HostError

_CHECK_SECONDS = 120
_UNCORRECTED = 4
_MIB = 1024 * 1024

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Captured:
    """What is known of a snapshot: the machine's id behind the disk's 0, and how much it holds."""

    base: int
    size_mb: int


class Snapshots:
    """Every method blocks."""

    def __init__(self, maker: SlotMaker) -> None:
        self._maker = maker
        self._folder = maker.places.directory / "snapshots"

    def prepare(self) -> None:
        """Make the folder, and remove what a killed host had not finished."""
        self._folder.mkdir(mode=0o700, exist_ok=True)
        for path in self._folder.glob("*.new"):
            shutil.rmtree(path, ignore_errors=True)

    def copy(self, snapshot_id: str, *, slot: str) -> None:
        """The disk as it is now. Nothing may run in the slot meanwhile. Raises ``HostError``."""
        scratch = self._scratch(snapshot_id)
        if scratch.exists() or self._path(snapshot_id).exists():
            raise HostError("invalid", "There is a snapshot with this id already.")
        scratch.mkdir(mode=0o700, parents=True)
        image, stage = self._maker.image(slot), self._maker.places.stage
        try:
            disks.flush(image, scratch=stage / f"flush-{slot}")
            disks.clone(image, scratch / "disk.ext4")
        except OSError as error:
            self.drop(snapshot_id)
            raise HostError("host_full", f"The host cannot keep the copy: {error}.") from error

    def finish(self, snapshot_id: str, *, slot: str) -> Captured:
        """Check the copy; from here on it can be forked. Raises ``HostError``."""
        scratch = self._scratch(snapshot_id)
        disk = scratch / "disk.ext4"
        try:
            _check(disk)
            size_mb = max(1, -(-disk.stat().st_blocks * 512 // _MIB))
            captured = Captured(self._maker.disk_base(slot), size_mb)
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

    def fork(self, snapshot_id: str) -> Fork:
        """What a slot is made from. Raises ``HostError`` (snapshot_gone)."""
        folder = self._path(snapshot_id)
        try:
            captured = Captured(**json.loads((folder / "snapshot.json").read_text()))
        except (OSError, ValueError, TypeError) as error:
            raise HostError(
                "snapshot_gone", "This host no longer has the snapshot; take another."
            ) from error
        return Fork(folder / "disk.ext4", captured.base)

    def _path(self, snapshot_id: str) -> Path:
        return self._folder / snapshot_id

    def _scratch(self, snapshot_id: str) -> Path:
        return self._folder / f"{snapshot_id}.new"


def _check(disk: Path) -> None:
    """Give back what only running processes held, and be sure that the rest is whole."""
    done = subprocess.run(
        ["e2fsck", "-f", "-p", str(disk)],
        capture_output=True,
        text=True,
        timeout=_CHECK_SECONDS,
        check=False,
        env={"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin"},
    )
    if done.returncode >= _UNCORRECTED:
        log.error("a copied disk is not whole: %s%s", done.stdout, done.stderr)
        raise OSError(f"its filesystem is not whole (e2fsck {done.returncode})")
