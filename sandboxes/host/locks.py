"""Locks on open files, which the kernel lets go of with the last process that has one open."""

from __future__ import annotations

import fcntl


def try_lock(fd: int) -> bool:
    """Whether nobody else has it; it is ours then until ``fd`` and its copies are closed."""
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
