"""The files of a journal: lines with a checksum, found again and repaired after a crash."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from zlib import crc32

from timeline.events import NewEvent, now_us
from timeline.log import to_line

_CHECKSUM = 9  # eight hexadecimal digits and a space
_CHUNK = 1024 * 1024


def seal(line: bytes) -> bytes:
    """A line as it lies in a file: checksum, space, JSON, newline."""
    return b"%08x %b\n" % (crc32(line), line)


def unseal(sealed: bytes) -> bytes | None:
    """The JSON of a sealed line (without its newline), or None when the checksum differs."""
    line = sealed[_CHECKSUM:]
    return line if sealed[:_CHECKSUM] == b"%08x " % crc32(line) else None


def unreadable(size: int) -> bytes:
    """What stands in for a damaged record, so that a loss on the disk is seen and counted."""
    return to_line(NewEvent("log.unreadable", data={"bytes": size}, at=now_us()))


@dataclass(slots=True)
class Segment:
    """One file. Its name holds the position of the record before it and of its first record."""

    path: Path
    before: int
    first: int
    count: int = 0
    size: int = 0

    @property
    def last(self) -> int:
        """Position of its last record; of the one before it while it is empty."""
        return self.first + self.count - 1 if self.count else self.before

    def open(self) -> int:
        """A descriptor to append to and read from."""
        return os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def lines(self, offset: int = 0) -> Iterator[bytes]:
        """Its sealed lines from a byte offset on, newlines kept, a chunk in memory at a time."""
        with self.path.open("rb") as file:
            file.seek(offset)
            left = self.size - offset
            for sealed in file:
                left -= len(sealed)
                if left < 0 or not sealed.endswith(b"\n"):
                    return
                yield sealed


def segment_path(directory: Path, *, before: int, first: int) -> Path:
    """Names sort in the order of the records."""
    return directory / f"{first:016x}-{before:016x}.log"


def recover(directory: Path) -> list[Segment]:
    """The segments on disk, oldest first, cut after their last whole record.

    A crash in the middle of a write leaves the end of the last file torn: that record's append
    never returned. Damage anywhere else stays and is read as ``log.unreadable``.
    """
    segments: list[Segment] = []
    names = sorted(entry.name for entry in os.scandir(directory) if entry.name.endswith(".log"))
    for name in names:
        first, before = (int(part, 16) for part in name.removesuffix(".log").split("-"))
        segment = Segment(directory / name, before, first)
        _measure(segment)
        segments.append(segment)
    for empty in [segment for segment in segments[:-1] if not segment.count]:
        segments.remove(empty)
        empty.path.unlink()
    return segments


def _measure(segment: Segment) -> None:
    """Count the records and cut the torn end off."""
    good = whole = 0
    good_count = count = 0
    with segment.path.open("rb") as file:
        for sealed in file:
            if not sealed.endswith(b"\n"):
                break
            whole += len(sealed)
            count += 1
            if unseal(sealed[:-1]) is not None:
                good, good_count = whole, count
    segment.size, segment.count = good, good_count
    if segment.path.stat().st_size != good:
        os.truncate(segment.path, good)
