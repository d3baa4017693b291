"""Work inside another process's namespaces, without a process of this host ever living there."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

Result = TypeVar("Result")

_OF_ANY_KIND = 0
_libc = ctypes.CDLL(None, use_errno=True)


def inside(namespace: Path, work: Callable[[], Result]) -> Result:
    """What ``work`` returns when run in ``namespace``. Blocks; raises what ``work`` raises.

    What it made and started stays in there, this process does not. Call it off the loop.
    """

    def enter_and_work() -> Result:
        _enter(namespace)
        return work()

    return in_own_thread(enter_and_work)


def in_own_thread(work: Callable[[], Result]) -> Result:
    """For what enters a namespace and cannot come back: the thread ends with it."""
    results: list[Result] = []
    errors: list[BaseException] = []

    def run() -> None:
        try:
            results.append(work())
        except BaseException as error:
            errors.append(error)

    thread = threading.Thread(target=run, name="namespace", daemon=True)
    thread.start()
    thread.join()
    if errors:
        raise errors[0]
    return results[0]


def _enter(namespace: Path) -> None:
    fd = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    try:
        if _libc.setns(fd, _OF_ANY_KIND) != 0:
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(namespace))
    finally:
        os.close(fd)
