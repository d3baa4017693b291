"""What a restore that was cut short leaves among a sandbox's own files.

CRIU brings a deleted file that a process has open back under a name of its own, and removes that
name when all is restored. Where it still is, the next restore fails: it exists already.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_NAME = re.compile(rb"\.cr\.[0-9a-f]+\.ghost$")

log = logging.getLogger(__name__)


def remove(folder: Path, *, since_ns: int) -> None:
    """Remove them below ``folder``, on a disk that nothing but restores has written to since.

    A file of the sandbox's own that is called like one is older, and stays. Raises ``OSError``.
    """
    for entry in _entries(os.fsencode(folder)):
        if not _NAME.search(entry.name) or entry.stat(follow_symlinks=False).st_ctime_ns < since_ns:
            continue
        log.info("Removing %r, of a restore that was cut short", entry.path)
        if entry.is_dir(follow_symlinks=False):
            Path(os.fsdecode(entry.path)).rmdir()
        else:
            Path(os.fsdecode(entry.path)).unlink()


def _entries(folder: bytes) -> Iterator[os.DirEntry[bytes]]:
    """All below a folder, however deep; what no path leads to has no such file in it either."""
    folders = [folder]
    while folders:
        with suppress(OSError), os.scandir(folders.pop()) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    folders.append(entry.path)
                yield entry
