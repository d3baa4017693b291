"""Ending and removing what is left of a slot, whole or half made."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from sandboxes.host import mounts, process
from sandboxes.host.cgroups import Group
from sandboxes.host.process import Identity

END_SECONDS = 5.0


def kill_group(group: Group) -> None:
    group.freezer.thaw()
    for pid in group.processes():
        with suppress(OSError):
            fd = os.pidfd_open(pid)
            process.kill(fd)
            if process.ended(fd, wait_seconds=END_SECONDS):
                process.reap(fd)
            os.close(fd)


def kill(identity: Identity) -> None:
    pidfd = process.watch(identity)
    if pidfd is not None:
        process.kill(pidfd)
        process.ended(pidfd, wait_seconds=END_SECONDS)
        process.reap(pidfd)
        os.close(pidfd)


def strip(bundle: Path) -> None:
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


def within(seconds: float, attempt: Callable[[], bool]) -> bool:
    """Whether ``attempt`` comes true in time; the kernel gives no sign to wait for."""
    deadline = time.monotonic() + seconds
    while not attempt():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.005)
    return True
