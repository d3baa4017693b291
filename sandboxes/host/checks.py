"""What this machine must have before a host can start: one clear sentence for each lack."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

from sandboxes.host.cgroups import Cgroups
from sandboxes.host.daemon import MIN_FREE_BYTES
from sandboxes.host.places import Places
from sandboxes.host.runtime import Runtime

#: Overlays over idmapped layers came with this one.
_KERNEL = (5, 19)
#: A unix socket's path, less "/agents/12345678.sock" and the closing NUL.
_LONGEST_DIRECTORY = 107 - 22


def troubles(places: Places, templates: Path, runtime: Runtime, cgroups: Cgroups) -> list[str]:
    """Empty when all is well."""
    if os.geteuid() != 0:
        return ["The sandbox host must run as root: it makes namespaces, mounts and cgroups."]
    return list(_troubles(places, templates, runtime, cgroups))


def _troubles(places: Places, templates: Path, runtime: Runtime, cgroups: Cgroups) -> Iterator[str]:
    release = os.uname().release
    if kernel_version(release) < _KERNEL:
        yield f"Kernel {release} is too old for sandboxes' disks; boot Linux 5.19 or newer."
    if trouble := runtime.trouble():
        yield trouble
    if not Path("/dev/loop-control").exists():
        yield "There are no loop devices; load the kernel's loop module (modprobe loop)."
    if missing := cgroups.missing:
        yield f"The kernel's cgroup controllers {', '.join(missing)} are not mounted; mount them."
    elif not cgroups.is_writable:
        yield "The cgroups are mounted read-only; run the host on the machine itself."
    elif trouble := cgroups.trouble():
        yield trouble
    for tool in ("mkfs.ext4", "e2fsck", "unshare"):
        if shutil.which(tool) is None:
            yield f"{tool} is not on the PATH; install e2fsprogs and util-linux."
    if not templates.is_dir():
        yield f"There is no templates folder {templates}; build the templates first."
    if len(os.fsencode(places.directory)) > _LONGEST_DIRECTORY:
        yield f"The path {places.directory} is too long for a socket; take a shorter one."
    yield from _disk(places.directory)


def _disk(directory: Path) -> Iterator[str]:
    there = next(path for path in (directory, *directory.parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < MIN_FREE_BYTES:
        yield f"Only {free >> 20} MB are free at {there}; sandboxes need {MIN_FREE_BYTES >> 20} MB."


def kernel_version(release: str) -> tuple[int, int]:
    """(6, 1) for "6.1.0-13-amd64"; (0, 0) for what is no release."""
    match = re.match(r"(\d+)\.(\d+)", release)
    return (int(match[1]), int(match[2])) if match else (0, 0)
