"""Slots: a started container with its own disk, ids and agent, before it is anybody's sandbox.

A slot is made in one blocking go (about 40 ms) and can wait for its sandbox. Its name is the
container's and the cgroup's; what it needs on disk is ``slots/<name>/`` and ``agents/<name>.sock``.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import threading
import zlib
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

from sandboxes.host import disks, leftovers, mounts, oci, process, roots, traces
from sandboxes.host.agent import callers
from sandboxes.host.cgroups import Cgroups, Group
from sandboxes.host.greeting import greet
from sandboxes.host.ids import SLOTS, Ids
from sandboxes.host.places import Fork, Places, Shape, Slot
from sandboxes.host.process import Identity
from sandboxes.host.runtime import RUNC, Restore, Runtime
from sandboxes.host.types import HostError

Ready = Callable[[Slot], None]


@dataclass(frozen=True, slots=True)
class _Site:
    """Where a slot is being made. ``root`` is a descriptor of its root."""

    name: str
    index: int
    bundle: Path
    root: int
    shape: Shape


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

    def make(self, shape: Shape, fork: Fork | None = None, ready: Ready | None = None) -> Slot:
        """A started container whose agent has answered. Raises ``HostError`` or ``OSError``.

        ``ready`` is called when all of a fork's processes are restored and none of them runs yet.
        """
        name = secrets.token_hex(4)
        index = self.ids.take()
        self._held.add(name)
        try:
            return self._make(name, index, shape, fork, ready)
        except BaseException:
            self.discard(name, index)
            raise

    def _make(
        self, name: str, index: int, shape: Shape, fork: Fork | None, ready: Ready | None
    ) -> Slot:
        folder, bundle = self.places.slots / name, self.places.stage / name
        folder.mkdir(mode=0o700)
        self._save(name, index, None, shape.isolation, shape.layers)
        bundle.mkdir(mode=0o711)
        self._bring_disk(folder, shape, fork)
        root = -1
        try:
            root = self._assemble(bundle, folder / "disk.ext4", index, shape.layers, fork)
            site = _Site(name, index, bundle, root, shape)
            self._configure(site, fork)
            if fork is not None and fork.memory is not None:
                return self._restore(site, fork.memory, ready)
            return self._began(self._watched(site, self._start(site)))
        except BaseException:
            if root >= 0:
                os.close(root)
            raise
        finally:
            leftovers.strip(bundle)

    def _bring_disk(self, folder: Path, shape: Shape, fork: Fork | None) -> None:
        image = folder / "disk.ext4"
        if fork is None:
            disks.clone(self._blank_image(shape.disk_mb), image)
            return
        (folder / "base").write_text(str(fork.base))
        if fork.moves:
            image.hardlink_to(fork.image)
        else:
            disks.clone(fork.image, image)

    def put_files(self, slot: Slot, layers: Sequence[str], fork: Fork) -> Slot:
        """A slot in which nothing but the agent runs, with a fork's files in place of its own.

        Its processes stay as they are. Raises ``HostError`` and ``OSError``, and then it is of no
        use any more.
        """
        folder, bundle = self.places.slots / slot.name, self.places.stage / slot.name
        image = folder / "fork.ext4"
        disks.clone(fork.image, image)
        bundle.mkdir(mode=0o711)
        try:
            root = self._assemble(bundle, image, slot.index, layers, fork)
            try:
                roots.exchange(slot, bundle / "rootfs")
                (folder / "base").write_text(str(fork.base))
                image.rename(self.image(slot.name))
            except BaseException:
                os.close(root)
                raise
        finally:
            leftovers.strip(bundle)
        return replace(slot, root=root)

    def _assemble(
        self, bundle: Path, image: Path, index: int, layers: Sequence[str], fork: Fork | None
    ) -> int:
        return roots.assemble(bundle, image, ids=self.ids, index=index, layers=layers, fork=fork)

    def _watched(self, site: _Site, pid: int) -> Slot:
        identity = Identity.of(pid)
        shape = site.shape
        self._save(site.name, site.index, identity, shape.isolation, shape.layers)
        pidfd = process.watch(identity)
        if pidfd is None:
            raise HostError("internal", "The sandbox ended as soon as it was started.")
        return self._slot(
            site.name,
            site.index,
            identity,
            pidfd=pidfd,
            root=site.root,
            isolation=shape.isolation,
        )

    def _restore(self, site: _Site, memory: Path, ready: Ready | None) -> Slot:
        """Its processes as they were, with an agent that listens again."""
        made: list[Slot] = []

        def restored(pid: int) -> None:
            made.append(self._watched(site, pid))
            if ready is not None:
                ready(made[0])

        base, path = self.ids.base(site.index), self._socket(site.name)
        try:
            runtime = self.runtimes[site.shape.isolation]
            pid = runtime.restore(site.name, site.bundle, Restore(memory, path, base, restored))
            if not made or made[0].identity.pid != pid or not runtime.reunite(path, pid):
                _not_restored()
            self._restored(site.name).touch()
            greet(path)
        except BaseException:
            for slot in made:
                os.close(slot.pidfd)
            raise
        return made[0]

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

    def _configure(self, site: _Site, fork: Fork | None) -> None:
        shape, runtime = site.shape, self.runtimes[site.shape.isolation]
        restored = fork is not None and fork.memory is not None
        has_volume = fork is not None and fork.volume is not None
        config = runtime.configuration(
            oci.Bundle(
                directory=site.bundle,
                agent=self.places.stage / "agent",
                cgroup=f"{self.places.cgroup}/{site.name}",
                hostname="sandbox",
                uid_base=self.ids.base(site.index),
                cpu=shape.cpu,
                memory_mb=shape.memory_mb,
                pids=shape.pids,
                swap=self._limits_swap(),
                outside=shape.outside,
                volume=site.bundle / roots.VOLUME if has_volume else None,
                annotations=runtime.annotations(restored=restored),
            )
        )
        (site.bundle / "config.json").write_text(json.dumps(config))

    def _start(self, site: _Site) -> int:
        runtime, path = self.runtimes[site.shape.isolation], self._socket(site.name)
        with runtime.meeting(path, site.bundle, owner=self.ids.base(site.index)) as listener:
            pid = runtime.start(site.name, site.bundle, listener=listener)
        greet(path)
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
        if not process.ended(slot.pidfd, wait_seconds=leftovers.END_SECONDS):
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
        leftovers.kill_group(group)
        with suppress(TypeError):
            leftovers.kill(Identity(**noted["identity"]))
        for runtime in self.runtimes.values():
            runtime.forget(name)
        self._socket(name).unlink(missing_ok=True)
        callers.remove(self._socket(name))
        if not leftovers.within(leftovers.END_SECONDS, group.remove):
            raise HostError("internal", f"Processes of slot {name} do not die; they are left.")
        leftovers.strip(self.places.stage / name)
        shutil.rmtree(self.places.slots / name, ignore_errors=True)
        if index is not None:
            self.ids.release(index)

    def _noted(self, name: str) -> dict[str, Any]:
        """What a slot's file says; both parts are None when it says nothing."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            row = json.loads((self.places.slots / name / "slot.json").read_text())
            layers = row.get("layers", ())
            known = {"index": row["index"], "identity": row["identity"]}
            return {**known, "isolation": row.get("isolation", RUNC), "layers": layers}
        return {"index": None, "identity": None, "isolation": RUNC, "layers": ()}

    def layers(self, name: str) -> tuple[str, ...]:
        """What a slot's root was made of, topmost first; empty for one of an earlier version."""
        return tuple(self._noted(name)["layers"])

    def was_restored(self, name: str) -> bool:
        """Whether a slot's processes began as copies of others."""
        return self._restored(name).exists()

    def _restored(self, name: str) -> Path:
        return self.places.slots / name / "restored"

    def _began(self, slot: Slot) -> Slot:
        """Note what it has in memory before anything of a sandbox is in there."""
        if slot.isolation == RUNC:
            self._fresh(slot.name).write_text(traces.of(slot))
        return slot

    def is_fresh(self, slot: Slot) -> bool:
        """Whether all that a slot that stands still has in memory is what it began with."""
        with suppress(OSError):
            return traces.of(slot) == self._fresh(slot.name).read_text()
        return False

    def _fresh(self, name: str) -> Path:
        """What was in a slot's memory at first; absent where that is not known."""
        return self.places.slots / name / "fresh"

    def keep(self, name: str) -> None:
        """Hold on to what is left of a slot that does not run: its disk will be needed."""
        self._held.add(name)
        index = self._noted(name)["index"]
        if index is not None:
            self.ids.claim(index)

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

    def _save(
        self,
        name: str,
        index: int,
        identity: Identity | None,
        isolation: str,
        layers: Sequence[str],
    ) -> None:
        path = self.places.slots / name / "slot.json"
        kept = asdict(identity) if identity else None
        row = {"index": index, "identity": kept, "isolation": isolation, "layers": list(layers)}
        scratch = path.with_suffix(".new")
        scratch.write_text(json.dumps(row))
        scratch.rename(path)


def _not_restored() -> NoReturn:
    raise HostError("memory_lost", "The restored processes did not wait for their host.")
