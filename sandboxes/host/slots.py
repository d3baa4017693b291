"""Slots: a started container with its own disk, ids and agent, before it is anybody's sandbox.

A slot is made in one blocking go (about 40 ms) and can wait for its sandbox. Its name is the
container's and the cgroup's; what it needs on disk is ``slots/<name>/`` and ``agents/<name>.sock``.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import socket
import struct
import threading
import time
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from sandboxes.host import disks, mounts, oci, process
from sandboxes.host.agent import callers
from sandboxes.host.cgroups import Cgroups, Group
from sandboxes.host.ids import SLOTS, Ids
from sandboxes.host.process import Identity
from sandboxes.host.runtime import RUNC, Runtime, View
from sandboxes.host.types import HostError

_AGENT_SECONDS = 10.0
_END_SECONDS = 5.0
#: The agent's PING, an empty frame of type 9, and the type of its answer.
_PING, _PONG = struct.pack("<IB", 0, 9), 68


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
    """A disk to begin with, and the machine's id that owns what is root's on it."""

    image: Path
    base: int


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


class SlotMaker:
    """Makes and unmakes slots. Every method blocks; several threads may call at once."""

    def __init__(self, places: Places, *runtimes: Runtime, cgroups: Cgroups) -> None:
        self.places = places
        self.runtimes = {runtime.isolation: runtime for runtime in runtimes}
        self.cgroups = cgroups
        self.ids = Ids(offset=zlib.crc32(os.fsencode(places.directory)) % SLOTS)
        self._swap: bool | None = None
        self._blank = threading.Lock()
        self._held: set[str] = set()

    def make(self, shape: Shape, fork: Fork | None = None) -> Slot:
        """A started container whose agent has answered. Raises ``HostError`` or ``OSError``."""
        name = secrets.token_hex(4)
        index = self.ids.take()
        self._held.add(name)
        try:
            return self._make(name, index, shape, fork)
        except BaseException:
            self.discard(name, index)
            raise

    def _make(self, name: str, index: int, shape: Shape, fork: Fork | None) -> Slot:
        folder, bundle = self.places.slots / name, self.places.stage / name
        folder.mkdir(mode=0o700)
        self._save(name, index, None, shape.isolation)
        bundle.mkdir(mode=0o711)
        source = fork.image if fork else self._blank_image(shape.disk_mb)
        disks.clone(source, folder / "disk.ext4")
        if fork:
            (folder / "base").write_text(str(fork.base))
        try:
            self._assemble(bundle, folder / "disk.ext4", index, shape.layers, fork)
            pid = self._start(name, bundle, index, shape)
            root = os.open(bundle / "rootfs", os.O_PATH | os.O_CLOEXEC)
        finally:
            _strip(bundle)
        identity = Identity.of(pid)
        self._save(name, index, identity, shape.isolation)
        pidfd = process.watch(identity)
        if pidfd is None:
            os.close(root)
            raise HostError("internal", "The sandbox ended as soon as it was started.")
        return self._slot(name, index, identity, pidfd=pidfd, root=root, isolation=shape.isolation)

    def _slot(
        self, name: str, index: int, identity: Identity, *, pidfd: int, root: int, isolation: str
    ) -> Slot:
        return Slot(
            name=name,
            index=index,
            identity=identity,
            pidfd=pidfd,
            root=root,
            agent_socket=self._socket(name),
            group=self.group(name),
            view=self.runtimes[isolation].view(name, identity.pid),
            isolation=isolation,
        )

    def _blank_image(self, size_mb: int) -> Path:
        with self._blank:
            return disks.blank(self.places.blanks, size_mb=size_mb)

    def image(self, name: str) -> Path:
        """A slot's private disk."""
        return self.places.slots / name / "disk.ext4"

    def disk_base(self, name: str) -> int:
        """The machine's id that owns what is root's on a slot's disk: a fork keeps its source's."""
        with suppress(FileNotFoundError):
            return int((self.places.slots / name / "base").read_text())
        return self.ids.base(self._noted(name)["index"])

    def _own_disk(self, bundle: Path, image: Path, index: int, fork: Fork | None) -> Path:
        """Where the private disk is, with this slot's owners."""
        base, disk = self.ids.base(index), bundle / "disk"
        disk.mkdir()
        disks.mount_image(image, disk)
        if fork is not None:
            # A volatile overlay marks its work folder, and no other may be mounted over the mark.
            shutil.rmtree(disk / "work" / "work", ignore_errors=True)
        if fork is None or fork.base == base:
            for name in ("upper", "work"):
                os.chown(disk / name, base, base)
            return disk
        own = bundle / "own"
        own.mkdir()
        namespace = mounts.user_namespace(base, first=fork.base)
        try:
            mounts.bind_idmapped(disk, own, namespace, is_read_only=False)
        finally:
            os.close(namespace)
        return own

    def _assemble(
        self, bundle: Path, image: Path, index: int, layers: Sequence[str], fork: Fork | None
    ) -> None:
        """The root: layers read-only with owners shifted, the private disk on top."""
        namespace = self.ids.namespace(index)
        rootfs = bundle / "rootfs"
        rootfs.mkdir()
        disk = self._own_disk(bundle, image, index, fork)
        lower = []
        for number, layer in enumerate(layers):
            target = bundle / f"lower{number}"
            target.mkdir()
            mounts.bind_idmapped(Path(layer), target, namespace)
            lower.append(str(target))
        mounts.mount(
            "overlay",
            rootfs,
            "overlay",
            flags=mounts.MS_NODEV | mounts.MS_NOSUID,
            data=f"lowerdir={':'.join(lower)},upperdir={disk}/upper,workdir={disk}/work,volatile",
        )

    def _start(self, name: str, bundle: Path, index: int, shape: Shape) -> int:
        runtime, path, base = (
            self.runtimes[shape.isolation],
            self._socket(name),
            self.ids.base(index),
        )
        config = runtime.configuration(
            oci.Bundle(
                directory=bundle,
                agent=self.places.stage / "agent",
                cgroup=f"{self.places.cgroup}/{name}",
                hostname="sandbox",
                uid_base=base,
                cpu=shape.cpu,
                memory_mb=shape.memory_mb,
                pids=shape.pids,
                swap=self._limits_swap(),
                outside=shape.outside,
            )
        )
        (bundle / "config.json").write_text(json.dumps(config))
        with runtime.meeting(path, bundle, owner=base) as listener:
            pid = runtime.start(name, bundle, listener=listener)
        _greet(path)
        return pid

    def _limits_swap(self) -> bool:
        if self._swap is None:
            self.cgroups.prepare(self.places.cgroup)
            self._swap = self.cgroups.limits_swap(self.places.cgroup)
        return self._swap

    def found(self, name: str) -> Slot | None:
        """The slot of this name if it still runs, after a restart of the host."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            row = self._noted(name)
            identity = Identity(**row["identity"])
            runtime = self.runtimes[row["isolation"]]
            self.ids.claim(row["index"])
            self._held.add(name)
            pidfd = process.watch(identity)
            if pidfd is None:
                self._held.discard(name)
                return None
            try:
                root = os.open(runtime.view(name, identity.pid).path("/"), os.O_PATH | os.O_CLOEXEC)
                runtime.found(self._socket(name), owner=self.ids.base(row["index"]))
            except OSError:
                os.close(pidfd)
                raise
            return self._slot(
                name, row["index"], identity, pidfd=pidfd, root=root, isolation=row["isolation"]
            )
        return None

    def kill(self, slot: Slot) -> None:
        """End everything in it. Raises ``HostError`` when it will not die."""
        process.kill(slot.pidfd)
        slot.group.freezer.thaw()  # what is frozen does not die
        if not process.ended(slot.pidfd, wait_seconds=_END_SECONDS):
            raise HostError("internal", "The sandbox does not die; the kernel holds a process.")

    def unmake(self, slot: Slot) -> None:
        """Remove every trace of a slot that has been killed."""
        process.reap(slot.pidfd)
        slot.close()
        self.discard(slot.name, slot.index)

    def discard(self, name: str, index: int | None = None) -> None:
        """Remove whatever there is of a slot by that name, running or half made.

        What cannot be removed now belongs to nobody, and is found by the next sweep.
        """
        try:
            self._discard(name, index)
        finally:
            self._held.discard(name)

    def _discard(self, name: str, index: int | None) -> None:
        noted = self._noted(name)
        index = noted.get("index") if index is None else index
        group = self.group(name)
        _kill_leftover(group)
        with suppress(TypeError):
            _kill(Identity(**noted["identity"]))
        for runtime in self.runtimes.values():
            runtime.forget(name)
        self._socket(name).unlink(missing_ok=True)
        callers.remove(self._socket(name))
        if not _within(_END_SECONDS, group.remove):
            raise HostError("internal", f"Processes of slot {name} do not die; they are left.")
        _strip(self.places.stage / name)
        shutil.rmtree(self.places.slots / name, ignore_errors=True)
        if index is not None:
            self.ids.release(index)

    def _noted(self, name: str) -> dict[str, Any]:
        """What a slot's file says; both parts are None when it says nothing."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            row = json.loads((self.places.slots / name / "slot.json").read_text())
            isolation = row.get("isolation", RUNC)
            return {"index": row["index"], "identity": row["identity"], "isolation": isolation}
        return {"index": None, "identity": None, "isolation": RUNC}

    def group(self, name: str) -> Group:
        return self.cgroups.group(f"{self.places.cgroup}/{name}".rstrip("/"))

    def clear(self) -> None:
        """Remove what all slots shared, once there are none. Their folders stay for the next."""
        self.group("").remove()
        mounts.detach(self.places.stage)
        with suppress(OSError):
            self.places.stage.rmdir()

    def in_use(self) -> set[str]:
        """Names of the slots that this process has made, found, or is about to remove."""
        return set(self._held)

    def names(self) -> set[str]:
        """Every name of which something is left: a folder, a record, a cgroup, a socket."""
        return {
            *(path.name for path in self.places.slots.iterdir()),
            *(path.stem for path in self.places.agents.iterdir()),
            *(name for runtime in self.runtimes.values() for name in runtime.containers()),
            *self.cgroups.group(self.places.cgroup).children(),
        }

    def _socket(self, name: str) -> Path:
        return self.places.agents / f"{name}.sock"

    def _save(self, name: str, index: int, identity: Identity | None, isolation: str) -> None:
        path = self.places.slots / name / "slot.json"
        known = asdict(identity) if identity else None
        row = {"index": index, "identity": known, "isolation": isolation}
        scratch = path.with_suffix(".new")
        scratch.write_text(json.dumps(row))
        scratch.rename(path)


def _kill_leftover(group: Group) -> None:
    group.freezer.thaw()
    for pid in group.processes():
        with suppress(OSError):
            fd = os.pidfd_open(pid)
            process.kill(fd)
            if process.ended(fd, wait_seconds=_END_SECONDS):
                process.reap(fd)
            os.close(fd)


def _kill(identity: Identity) -> None:
    pidfd = process.watch(identity)
    if pidfd is not None:
        process.kill(pidfd)
        process.ended(pidfd, wait_seconds=_END_SECONDS)
        process.reap(pidfd)
        os.close(pidfd)


def _strip(bundle: Path) -> None:
    """Take the bundle's mounts out of our tree; a started container holds them in its own."""
    if not bundle.exists():
        return
    for path in bundle.iterdir():
        if path.is_dir():
            mounts.detach(path)
            path.rmdir()
        else:
            path.unlink()
    bundle.rmdir()


def _greet(agent: Path) -> None:
    """Wait for the agent's first answer."""
    try:
        with _connected(agent) as probe:
            probe.sendall(_PING)
            answer = probe.recv(5)
    except OSError as error:
        raise HostError("agent_lost", f"The sandbox's agent does not answer: {error}") from error
    if len(answer) < 5 or answer[4] != _PONG:
        raise HostError("agent_lost", "The sandbox's agent does not speak our protocol.")


def _connected(agent: Path) -> socket.socket:
    """To an agent that is only just being started."""
    if callers.calls(agent):
        return callers.await_call(agent, seconds=_AGENT_SECONDS)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(_AGENT_SECONDS)
        sock.connect(str(agent))
    except OSError:
        sock.close()
        raise
    return sock


def _within(seconds: float, attempt: Callable[[], bool]) -> bool:
    """Whether ``attempt`` comes true in time; the kernel gives no sign to wait for."""
    deadline = time.monotonic() + seconds
    while not attempt():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
