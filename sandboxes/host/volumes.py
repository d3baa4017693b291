"""Volumes: disks that outlive sandboxes, each at ``/persist`` of one sandbox at a time.

On the disk owners are as a sandbox sees them (root is 0); an id-mapped mount shifts them to the
ids of whoever has it now. The mount goes straight into the sandbox's own tree, so that none of it
is ever in the host's.
"""

from __future__ import annotations

import logging
import os
import stat
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from functools import partial

from sandboxes.host import mounts
from sandboxes.host.box import Box
from sandboxes.host.oci import VOLUME
from sandboxes.host.places import Slot
from sandboxes.host.slots import SlotMaker
from sandboxes.host.threads import in_thread
from sandboxes.host.types import CreateSpec, HostError
from sandboxes.host.volume_disks import VolumeDisks
from timeline.events import Actor, Kind, NewEvent

#: An end writes out what its sandbox had written, which may be as much as memory holds.
WRITE_SECONDS = 40.0

_THREADS = 4

log = logging.getLogger(__name__)


class Volumes:
    """All volumes of one host, by their ids. Writing one out may take long: its threads are own."""

    def __init__(self, maker: SlotMaker) -> None:
        self._ids = maker.ids
        self._disks = VolumeDisks(maker.places.directory / "volumes")
        self._threads = ThreadPoolExecutor(_THREADS, "volumes")

    def prepare(self) -> None:
        """Make the folder, and remove what a killed host had not finished."""
        self._disks.prepare()

    def close(self) -> None:
        """Wait for what is being written out."""
        self._threads.shutdown(wait=True)

    async def make(self, volume_id: str, *, size_mb: int) -> None:
        """An empty one of at most this size; one that is there already stays as it is."""
        await in_thread(self._threads, partial(self._disks.make, volume_id, size_mb=size_mb))

    async def drop(self, volume_id: str) -> None:
        """Remove it for good. Raises ``HostError`` (volume_in_use); one that is absent is fine."""
        await in_thread(self._threads, partial(self._disks.drop, volume_id))

    async def ids(self) -> list[str]:
        """Of every volume that has a disk here."""
        return await in_thread(self._threads, self._disks.ids)

    async def used_bytes(self, volume_ids: Sequence[str]) -> dict[str, int]:
        """What each takes of this host's disk, without those that have none here."""
        found = await in_thread(
            self._threads, lambda: {one: self._disks.used_bytes(one) for one in volume_ids}
        )
        return {one: used for one, used in found.items() if used is not None}

    async def attach(self, spec: CreateSpec, slot: Slot, *, actor: Actor) -> list[NewEvent]:
        """Mount what ``spec`` names in a slot in which nothing but the agent runs.

        Waits until an earlier holder's disk is written out. Raises ``HostError`` (volume_in_use,
        volume_gone, not_a_directory).
        """
        if not spec.volume:
            return []
        await self._disks.free(spec.volume, seconds=WRITE_SECONDS)
        size_mb = await in_thread(self._threads, partial(self._attach, spec.volume, slot))
        data = {"volume_id": spec.volume, "name": spec.volume_name, "size_mb": size_mb}
        return [NewEvent(Kind.VOLUME_ATTACHED, {**data, "path": VOLUME}, actor=actor)]

    async def mount_of(self, volume_id: str) -> Callable[[int], int]:
        """What mounts it for a slot that is being made, see ``places.Fork``.

        Waits as ``attach`` does. Raises ``HostError`` (volume_in_use, volume_gone).
        """
        await self._disks.free(volume_id, seconds=WRITE_SECONDS)

        def mount(namespace: int) -> int:
            made = self._disks.mount(volume_id)
            mounts.idmap(made, namespace)
            return made

        return mount

    def _attach(self, volume_id: str, slot: Slot) -> int:
        """Its size in MB."""
        try:
            mount = self._disks.mount(volume_id)
            try:
                self._move(mount, slot)
            finally:
                os.close(mount)
            return self._disks.size_mb(volume_id)
        except OSError as error:
            log.exception("Volume %s cannot be mounted", volume_id)
            raise HostError("internal", f"The volume cannot be mounted: {error}.") from error

    def _move(self, mount: int, slot: Slot) -> None:
        mounts.idmap(mount, self._ids.namespace(slot.index))
        _make_place(slot)
        namespace = os.open(slot.view.namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            if not slot.alive():
                raise HostError("internal", "The sandbox ended as soon as it was started.")
            mounts.move_into(mount, namespace, f"{slot.view.root}{VOLUME}")
        finally:
            os.close(namespace)

    @asynccontextmanager
    async def written_out(self, box: Box) -> AsyncIterator[None]:
        """What ``box`` wrote to its volume is on the disk afterwards, and others may have it.

        Holding on to it meanwhile keeps the sandbox's last process from doing the writing.
        """
        held = _hold(box)
        try:
            yield
        finally:
            if held is not None:
                await in_thread(self._threads, partial(_let_go, held, box.spec.volume))


def inside(slot: Slot) -> str:
    """Where a running slot's volume is, as this process sees it; nothing in there can move it."""
    return slot.view.path(VOLUME)


def write_out(box: Box) -> None:
    """Have the disk of a sandbox's volume, if it has one, hold all that was written to it. Blocks.

    Raises ``OSError``.
    """
    held = _hold(box)
    if held is not None:
        try:
            mounts.sync_fd(held)
        finally:
            os.close(held)


def _hold(box: Box) -> int | None:
    """None when there is nothing to write out, or what had it is gone already."""
    if not box.spec.volume:
        return None
    with suppress(OSError):
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
        return os.open(inside(box.slot), flags)
    return None


def _let_go(held: int, volume_id: str) -> None:
    try:
        mounts.sync_fd(held)
    except OSError:
        log.exception("Volume %s could not be written out", volume_id)
    finally:
        os.close(held)


def _make_place(slot: Slot) -> None:
    """A fork's files may have anything there, or nothing; what is not a folder is left alone."""
    name = VOLUME.lstrip("/")
    with suppress(FileExistsError):
        os.mkdir(name, 0o755, dir_fd=slot.root)
    if not stat.S_ISDIR(os.stat(name, dir_fd=slot.root, follow_symlinks=False).st_mode):
        message = f"The snapshot has something other than a folder at {VOLUME}; fork it without."
        raise HostError("not_a_directory", message)
