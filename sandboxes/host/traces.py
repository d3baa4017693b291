"""What a sandbox has in memory beside its processes: files of ``/dev``, shared memory, queues, and
what something in it set on PID 1, which all that starts later inherits.

A slot that has just begun has none of the sandbox's own. One that has the same later, and no
process but the agent, has nothing in memory that its files could not begin without.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from sandboxes.host import namespaces
from sandboxes.host.places import Slot

#: All below ``/dev`` at first is a tenth of this; a sandbox may put there what it likes.
_MOST = 256
_TABLES = ("msg", "sem", "shm")


def of(slot: Slot) -> str:
    """A digest of them for a slot that stands still or has just begun. Raises ``OSError``."""
    pid = slot.identity.pid
    found = [*_files(slot.view.path("/dev")), *_tables(pid), *_settings(pid)]
    return hashlib.sha256("\n".join(found).encode()).hexdigest()


def _files(folder: str) -> Iterator[str]:
    """Names, kinds, modes and owners below a folder of the sandbox's; no link is followed."""
    folders = [os.fsencode(folder)]
    count = 0
    while folders:
        with os.scandir(folders.pop()) as entries:
            listed = sorted(entries, key=lambda entry: entry.name)
        for entry in listed:
            count += 1
            if count > _MOST:
                yield "more"
                return
            yield _told(entry)
            if entry.is_dir(follow_symlinks=False):
                folders.append(entry.path)


def _told(entry: os.DirEntry[bytes]) -> str:
    found = entry.stat(follow_symlinks=False)
    size = found.st_size if stat.S_ISREG(found.st_mode) else 0
    target = Path(os.fsdecode(entry.path)).readlink() if entry.is_symlink() else ""
    names = os.listxattr(entry.path, follow_symlinks=False)
    owner = (found.st_uid, found.st_gid)
    return repr((entry.path.split(b"/dev", 1)[1], found.st_mode, *owner, size, target, names))


def _tables(pid: int) -> list[str]:
    """System V's messages, semaphores and shared memory, which outlive the processes."""

    def read() -> list[str]:
        paths = (Path("/proc/sysvipc", name) for name in _TABLES)
        return [path.read_text() for path in paths if path.exists()]

    return namespaces.inside(Path(f"/proc/{pid}/ns/ipc"), read)


def _settings(pid: int) -> Iterator[str]:
    yield Path(f"/proc/{pid}/limits").read_text()
    yield repr((os.getpriority(os.PRIO_PROCESS, pid), os.sched_getscheduler(pid)))
    yield repr(sorted(os.sched_getaffinity(pid)))
