"""A sandbox's journal on the host's disk, which ``timeline.shipper`` moves to Redis.

A record stays in the journal until PostgreSQL is known to have it, so that neither a killed host
nor a Redis that lost its memory loses an event; ``timeline.log`` tells the whole argument.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import orjson

from timeline.events import NewEvent, now_us
from timeline.log import Batch, to_line
from timeline.segments import Segment, recover, seal, segment_path, unreadable, unseal

SEGMENT_BYTES: Final = 4 * 1024 * 1024
RECLAIM_BYTES: Final = 256 * 1024
BATCH_EVENTS: Final = 512
BATCH_BYTES: Final = 1024 * 1024
_READ_BYTES: Final = 256 * 1024

# A position is an opening of the journal (minutes since 2025, or one more than the last opening)
# and a running number. A machine that loses power may forget the end of a file that PostgreSQL
# has already; records written after that get positions beyond all forgotten ones.
_OPENING_BITS: Final = 29
_MINUTE_US: Final = 60_000_000
_EPOCH_US: Final = 1_735_689_600_000_000


class Journal:
    """Append-only record of one sandbox, owned by one process; any of its threads may append."""

    def __init__(self, directory: Path, sandbox_id: str) -> None:
        self.sandbox_id = sandbox_id
        self.directory = directory / "journal"
        self.directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.on_append: Callable[[], None] | None = None
        self._lock = threading.Lock()
        self._segments = recover(self.directory)
        self._descriptor = -1  # of the last segment, once this process appends to it
        self.stored = self._segments[0].before if self._segments else 0
        self.last = self._segments[-1].last if self._segments else 0
        self._next = self._opening() << _OPENING_BITS
        self._mark = (0, 0)  # a position, and the byte offset in its segment right after it

    def _opening(self) -> int:
        """Later than every opening before; the newest file is never deleted, so it is known."""
        latest = self._segments[-1].first >> _OPENING_BITS if self._segments else 0
        return max((now_us() - _EPOCH_US) // _MINUTE_US, latest + 1)

    def append(self, event: NewEvent) -> None:
        """Hand one record to the kernel before returning; about 10 µs."""
        self._write(seal(to_line(event)), 1)

    def append_many(self, events: Sequence[NewEvent]) -> None:
        """The same for several, in one write. Raises ``OSError`` (disk full) with none written."""
        if events:
            self._write(b"".join(seal(to_line(event)) for event in events), len(events))

    def _write(self, sealed: bytes, count: int) -> None:
        with self._lock:
            segment = self._active()
            try:
                written = 0
                while written < len(sealed):
                    written += os.write(self._descriptor, memoryview(sealed)[written:])
            except OSError:
                os.ftruncate(self._descriptor, segment.size)
                raise
            segment.size += len(sealed)
            segment.count += count
            self.last = segment.last
            self._next = segment.last + 1
        if self.on_append is not None:
            self.on_append()

    def _active(self) -> Segment:
        """The segment to append to; a new one when the last is full or from another process."""
        if self._descriptor >= 0 and self._segments[-1].size < SEGMENT_BYTES:
            return self._segments[-1]
        return self._begin()

    def _begin(self) -> Segment:
        self._close_descriptor()
        path = segment_path(self.directory, before=self.last, first=self._next)
        segment = Segment(path, self.last, self._next)
        self._descriptor = segment.open()
        self._segments.append(segment)
        return segment

    def scan(self) -> Iterator[NewEvent]:
        """Everything still in the files, oldest first; damaged records as ``log.unreadable``."""
        for segment in tuple(self._segments):
            for sealed in segment.lines():
                line = unseal(sealed[:-1]) or unreadable(len(sealed))
                yield NewEvent.from_json(orjson.loads(line))

    def read(self, *, after: int) -> Batch | None:
        """The next records behind a position: at most 512, and 1 MiB unless one alone is larger."""
        with self._lock:
            segment = next((item for item in self._segments if item.last > after), None)
            end = segment.size if segment else 0
        if segment is None:
            return None
        offset = self._offset(segment, after)
        first = max(after + 1, segment.first)
        lines, size = self._take(segment, offset, end)
        self._mark = (first + len(lines) - 1, offset + size)
        return Batch(self.sandbox_id, after, first, len(lines), b"\n".join(lines))

    def _offset(self, segment: Segment, after: int) -> int:
        """Where the record behind ``after`` begins: known when reading on, counted otherwise."""
        if after < segment.first:
            return 0
        if self._mark[0] == after:
            return self._mark[1]
        skipped = zip(range(segment.first, after + 1), segment.lines(), strict=False)
        return sum(len(sealed) for _, sealed in skipped)

    @staticmethod
    def _take(segment: Segment, offset: int, end: int) -> tuple[list[bytes], int]:
        """Lines from an offset, and the bytes they fill in the file."""
        lines: list[bytes] = []
        size = 0
        with segment.path.open("rb", buffering=_READ_BYTES) as file:
            file.seek(offset)
            while offset + size < end and len(lines) < BATCH_EVENTS:
                sealed = file.readline()
                if lines and size + len(sealed) > BATCH_BYTES:
                    break
                size += len(sealed)
                lines.append(unseal(sealed[:-1]) or unreadable(len(sealed)))
        return lines, size

    def reclaim(self, *, stored: int) -> None:
        """Delete files of which PostgreSQL has every record; the newest file always stays."""
        with self._lock:
            self.stored = max(self.stored, stored)
            newest = self._segments[-1] if self._descriptor >= 0 else None
            if newest and newest.last <= self.stored and newest.size >= RECLAIM_BYTES:
                self._begin()
            while len(self._segments) > 1 and self._segments[0].last <= self.stored:
                self._segments.pop(0).path.unlink(missing_ok=True)

    def close(self) -> None:
        """Let go of the file; nothing is deleted."""
        with self._lock:
            self._close_descriptor()

    def delete(self) -> None:
        """Close, and remove the journal's folder."""
        self.close()
        shutil.rmtree(self.directory, ignore_errors=True)

    def _close_descriptor(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1
