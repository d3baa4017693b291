"""A slot's root: a template's layers read-only with owners shifted, its private disk on top.

It is assembled in the host's own mounts before a container starts on it, or is put in place of the
root of one that runs.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from sandboxes.host import disks, ghosts, mounts
from sandboxes.host.ids import Ids
from sandboxes.host.places import Fork, Slot

#: Of a bundle: where a volume is that a restored container had.
VOLUME = "volume"
#: What a container has mounted right below its root (``oci``), and keeps when that changes.
_MOUNTED = ("proc", "dev", "sys", ".agent")


def assemble(
    bundle: Path, image: Path, *, ids: Ids, index: int, layers: Sequence[str], fork: Fork | None
) -> int:
    """Mount it at ``rootfs`` in the bundle; a descriptor of it. Raises ``OSError``."""
    namespace = ids.namespace(index)
    rootfs = bundle / "rootfs"
    rootfs.mkdir()
    disk = _own_disk(bundle, image, ids.base(index), fork)
    lower = []
    for number, layer in enumerate(layers):
        target = bundle / f"lower{number}"
        target.mkdir()
        mounts.bind_idmapped(Path(layer), target, namespace)
        lower.append(str(target))
    if fork is not None and fork.volume is not None:
        _place(fork.volume(namespace), bundle / VOLUME)
    mounts.mount(
        "overlay",
        rootfs,
        "overlay",
        flags=mounts.MS_NODEV | mounts.MS_NOSUID,
        data=f"lowerdir={':'.join(lower)},upperdir={disk}/upper,workdir={disk}/work,volatile",
    )
    return os.open(rootfs, os.O_PATH | os.O_CLOEXEC)


def _own_disk(bundle: Path, image: Path, base: int, fork: Fork | None) -> Path:
    """Where the private disk is, with this slot's owners."""
    disk = bundle / "disk"
    disk.mkdir()
    disks.mount_image(image, disk)
    if fork is not None:
        # A volatile overlay marks its work folder, and no other may be mounted over the mark.
        shutil.rmtree(disk / "work" / "work", ignore_errors=True)
        if fork.restored_since is not None:
            ghosts.remove(disk / "upper", since_ns=fork.restored_since)
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


def _place(mount: int, target: Path) -> None:
    target.mkdir()
    try:
        mounts.place(mount, target)
    finally:
        os.close(mount)


def exchange(slot: Slot, rootfs: Path) -> None:
    """Have a running slot's processes find themselves in ``rootfs``; theirs of before ends.

    Only for one in which nothing but the agent has run: what is in its root is nobody's, and the
    new root is only reached by names right below it. Raises ``OSError``.
    """
    tree = mounts.copied(rootfs)
    try:
        namespace = os.open(slot.view.namespace, os.O_RDONLY | os.O_CLOEXEC)
        try:
            mounts.exchange_root(tree, namespace, keeping=_MOUNTED)
        finally:
            os.close(namespace)
    finally:
        os.close(tree)
