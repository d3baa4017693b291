"""The machine's cgroups, version 1, 2 or both: where a sandbox's limits are and what they counted.

The OCI runtime sets the limits; this reads the counters and removes what is left.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from sandboxes.host.freezer import Freezer

_NEEDED = ("memory", "cpu", "pids")
_HANDED_DOWN = "cgroup.subtree_control"


@dataclass(frozen=True, slots=True)
class Counters:
    """How often this group met its limits since it was made."""

    oom_kills: int
    forks_refused: int


class Cgroups:
    """Every mounted hierarchy. ``unified`` is version 2 when it has the controllers we need."""

    def __init__(self, mountinfo: str | None = None) -> None:
        text = Path("/proc/self/mountinfo").read_text() if mountinfo is None else mountinfo
        self.roots: list[Path] = []
        self._controllers: dict[str, Path] = {}
        for line in text.splitlines():
            before, _, after = line.partition(" - ")
            kind, _, options = after.split()[:3]
            if kind not in {"cgroup", "cgroup2"}:
                continue
            root = Path(_unescape(before.split()[4]))
            if root in self.roots:
                continue
            self.roots.append(root)
            for name in self._controllers_of(root, kind, options):
                self._controllers.setdefault(name, root)

    @staticmethod
    def _controllers_of(root: Path, kind: str, options: str) -> list[str]:
        if kind == "cgroup":
            return options.split(",")
        with suppress(OSError):
            return (root / "cgroup.controllers").read_text().split()
        return []

    @property
    def missing(self) -> list[str]:
        """Controllers without which a sandbox could not be held to its size."""
        missing = [name for name in _NEEDED if name not in self._controllers]
        if "memory" not in missing and not self.unified and "freezer" not in self._controllers:
            missing.append("freezer")
        return missing

    @cached_property
    def unified(self) -> bool:
        memory = self._controllers.get("memory")
        return memory is not None and (memory / "cgroup.controllers").exists()

    @property
    def _cpu(self) -> Path:
        """Where CPU time is counted: a hierarchy of its own in version 1."""
        return self._controllers.get("cpuacct") or self._controllers["cpu"]

    @property
    def _freezer(self) -> Path:
        """A hierarchy of its own in version 1, a file of every group in version 2."""
        return self._controllers["memory" if self.unified else "freezer"]

    @property
    def is_writable(self) -> bool:
        """In a container without privileges they are mounted, but for reading only."""
        return all(os.access(root, os.W_OK) for root in set(self._controllers.values()))

    def trouble(self) -> str | None:
        """Why no group below could be limited, as a sentence; None when it could.

        Version 2 hands controllers down by name, and only where no process is (the machine's own
        root is exempt). In a container the root that shows is not the machine's.
        """
        if not self.unified:
            return None
        try:
            _hand_down(self._controllers["memory"])
        except OSError as error:
            if error.errno == errno.EBUSY:
                return (
                    "The cgroup that shows as the root here has processes of its own, so none "
                    "below it can be limited; move them to a group, or run the host outside."
                )
            return f"The cgroup controllers cannot be handed down ({error}); enable them as root."
        return None

    def prepare(self, path: str) -> None:
        """Make the group that holds others, so that those can be limited. Raises ``OSError``.

        The runtime would do so as well, but what this kernel can limit shows only in a group. A
        controller that this group hands down cannot be taken back further up, by systemd say.
        """
        if self.unified:
            root = self._controllers["memory"]
            folder = root / path.lstrip("/")
            folder.mkdir(exist_ok=True)
            _hand_down(root)
            _hand_down(folder)

    def limits_swap(self, path: str) -> bool:
        """Whether this kernel counts swap, so that a limit can be set below a prepared group."""
        memory = self._controllers["memory"]
        if self.unified:
            return (memory / path.lstrip("/") / "memory.swap.max").exists()
        return (memory / "memory.memsw.limit_in_bytes").exists()

    def group(self, path: str) -> Group:
        """The group at ``/path`` below every root. It need not exist."""
        return Group(
            folders=[root / path.lstrip("/") for root in self.roots],
            memory=self._controllers["memory"] / path.lstrip("/"),
            pids=self._controllers["pids"] / path.lstrip("/"),
            freezer=Freezer(self._freezer / path.lstrip("/"), self.unified),
            cpu=self._cpu / path.lstrip("/"),
            unified=self.unified,
        )


@dataclass(frozen=True, slots=True)
class Group:
    """One sandbox's cgroup in every hierarchy, or the folder that holds them all."""

    folders: Sequence[Path]
    memory: Path
    pids: Path
    freezer: Freezer
    cpu: Path
    unified: bool

    def counters(self) -> Counters:
        """Zero for what the kernel does not tell or when the group is gone."""
        events = self.memory / ("memory.events" if self.unified else "memory.oom_control")
        return Counters(
            oom_kills=_field(events, "oom_kill"),
            forks_refused=_field(self.pids / "pids.events", "max"),
        )

    def memory_bytes(self) -> int:
        """What it holds now; zero when the group is gone."""
        name = "memory.current" if self.unified else "memory.usage_in_bytes"
        with suppress(OSError, ValueError):
            return int((self.memory / name).read_text())
        return 0

    def processes(self) -> list[int]:
        """Ids on this machine of everything in the group."""
        with suppress(OSError):
            return [int(line) for line in (self.pids / "cgroup.procs").read_text().split()]
        return []

    def children(self) -> set[str]:
        """Names of the groups right below, in any hierarchy."""
        names: set[str] = set()
        for folder in self.folders:
            with suppress(OSError):
                names |= {entry.name for entry in os.scandir(folder) if entry.is_dir()}
        return names

    def remove(self) -> bool:
        """Remove the empty group everywhere. False while something still runs in it."""
        self.freezer.forget()
        removed = [_remove(folder) for folder in self.folders]
        return all(removed)


def _hand_down(folder: Path) -> None:
    """Let the groups right below have the controllers we need. Raises ``OSError``."""
    control = folder / _HANDED_DOWN
    there = control.read_text().split()
    if wanted := [f"+{name}" for name in _NEEDED if name not in there]:
        control.write_text(" ".join(wanted))


def _remove(folder: Path) -> bool:
    try:
        folder.rmdir()
    except FileNotFoundError:
        return True
    except OSError:
        return False
    return True


def _field(path: Path, name: str) -> int:
    try:
        text = path.read_text()
    except OSError:
        return 0
    match = re.search(rf"^{name} (\d+)$", text, re.MULTILINE)
    return int(match[1]) if match else 0


def _unescape(path: str) -> str:
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), path)
