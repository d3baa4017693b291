"""What a slot is and is made from, and where a host keeps everything."""

from __future__ import annotations

import os
import shutil
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from sandboxes.host import mounts, process
from sandboxes.host.cgroups import Group
from sandboxes.host.process import Identity
from sandboxes.host.runtime import RUNC, View


@dataclass(frozen=True, slots=True)
class Shape:
    """All that makes two slots interchangeable. ``layers`` are paths, topmost first.

    ``outside`` is for a class whose network stack has to be chosen before it is started: whether
    it is to reach other machines by itself.
    """

    layers: tuple[str, ...]
    cpu: float
    memory_mb: int
    disk_mb: int
    pids: int
    isolation: str = RUNC
    outside: bool = False


@dataclass(frozen=True, slots=True)
class Fork:
    """A disk to begin with, and the machine's id that owns what is root's on it.

    ``memory`` is what processes are restored from; without it nothing but the agent runs at first.
    One that ``moves`` is the same disk, not a copy of it: its old slot must not run any more.
    ``restored_since`` is when a restore that was cut short may have begun to write to it, in
    nanoseconds; None when there was none. ``volume`` gives what its processes had at ``/persist``:
    a mount that is nowhere yet, with owners as the user namespace behind a descriptor maps them.
    """

    image: Path
    base: int
    memory: Path | None = None
    moves: bool = False
    restored_since: int | None = None
    volume: Callable[[int], int] | None = None


@dataclass(frozen=True, slots=True)
class Slot:
    """A running container. ``root`` is a descriptor of its root, to see how full its disk is."""

    name: str
    index: int
    identity: Identity
    pidfd: int
    root: int
    agent_socket: Path
    group: Group
    view: View
    isolation: str = RUNC

    def alive(self) -> bool:
        return not process.ended(self.pidfd)

    def close(self) -> None:
        """Let go of the descriptors; the kernel takes the disk down when the root's is closed."""
        os.close(self.pidfd)
        os.close(self.root)


@dataclass(frozen=True, slots=True)
class Places:
    """Where a host keeps things. ``stage`` is in memory and in this process's mounts alone."""

    directory: Path
    stage: Path

    @classmethod
    def of(cls, directory: Path) -> Places:
        tag = f"{zlib.crc32(os.fsencode(directory)):08x}"
        return cls(directory, Path("/run", f"orkestr-host-{tag}"))

    @property
    def cgroup(self) -> str:
        return f"/{self.stage.name}"

    @property
    def agents(self) -> Path:
        return self.directory / "agents"

    @property
    def slots(self) -> Path:
        return self.directory / "slots"

    @property
    def sandboxes(self) -> Path:
        return self.directory / "sandboxes"

    @property
    def recordings(self) -> Path:
        """Of terminals; they outlive their sandboxes."""
        return self.directory / "recordings"

    @property
    def blanks(self) -> Path:
        return self.directory / "blanks"

    def prepare(self, agent: Path) -> None:
        """Make the folders, and the stage: a place that a sandbox's own ids can reach into."""
        for path in (self.directory, self.agents, self.slots, self.sandboxes, self.blanks):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.stage.mkdir(mode=0o711, exist_ok=True)
        mounts.mount("tmpfs", self.stage, "tmpfs", data="mode=711,size=64m")
        shutil.copyfile(agent, self.stage / "agent")
        (self.stage / "agent").chmod(0o555)
