"""The kernel's freezer, version 1 or 2: everything in a cgroup stands still, and goes on later."""

from __future__ import annotations

import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from sandboxes.host.types import HostError

#: A process that waits for a slow disk freezes only once the kernel has answered it.
_FREEZE_SECONDS = 10.0
_LOOK_SECONDS = 0.001
#: Version 1 can miss a process that is born meanwhile; letting go for a moment finds it.
_AGAIN = 50


@dataclass(frozen=True, slots=True)
class Freezer:
    """One group's. Every method blocks; a group that is gone is neither frozen nor an error."""

    folder: Path
    unified: bool

    def freeze(self) -> None:
        """Nothing in the group runs any more. Raises ``HostError``, and then all of it runs."""
        deadline = time.monotonic() + _FREEZE_SECONDS
        tries = 0
        while not self._try():
            tries += 1
            if time.monotonic() > deadline:
                self.thaw()
                raise HostError(
                    "internal", "The sandbox does not come to rest; try again in a moment."
                )
            if tries % _AGAIN == 0 and not self.unified:
                self.thaw()
            time.sleep(_LOOK_SECONDS)

    def _try(self) -> bool:
        try:
            self._path.write_text("1" if self.unified else "FROZEN")
        except FileNotFoundError:
            raise HostError("not_running", "The sandbox has ended; create another one.") from None
        return self.is_frozen()

    def thaw(self) -> None:
        """Everything goes on. One that was not frozen is left as it is."""
        with suppress(FileNotFoundError):
            self._path.write_text("0" if self.unified else "THAWED")

    def freeze_all_but(self, pid: int) -> None:
        """As ``freeze``, but this process runs, aside from the others until ``rejoin``."""
        self._aside.mkdir(parents=True, exist_ok=True)
        _move(pid, self._aside)
        self.freeze()

    def rejoin(self, pid: int) -> None:
        """A process that was put aside is one of the group's again; any other is one still."""
        if self._aside.is_dir():
            _move(pid, self.folder)
            self.forget()

    def forget(self) -> None:
        """Remove what ``freeze_all_but`` has made, once nobody is aside."""
        with suppress(OSError):
            self._aside.rmdir()

    @property
    def _aside(self) -> Path:
        """Not below the folder of all groups: what is in there is taken for a sandbox."""
        groups = self.folder.parent
        return groups.with_name(f"{groups.name}-aside") / self.folder.name

    def is_frozen(self) -> bool:
        """Whether all of it stands still now."""
        with suppress(OSError):
            if self.unified:
                return "frozen 1" in (self.folder / "cgroup.events").read_text().splitlines()
            return (self.folder / "freezer.state").read_text().strip() == "FROZEN"
        return False

    @property
    def _path(self) -> Path:
        return self.folder / ("cgroup.freeze" if self.unified else "freezer.state")


def _move(pid: int, group: Path) -> None:
    try:
        (group / "cgroup.procs").write_text(str(pid))
    except (FileNotFoundError, ProcessLookupError):
        raise HostError("not_running", "The sandbox has ended; create another one.") from None
