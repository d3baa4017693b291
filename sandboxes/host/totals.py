"""What a sandbox has used so far, and the small file in which it outlives the host."""

from __future__ import annotations

import os
import struct
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

FILE = "meter"
#: KiB·ms in one GB·s, as GB are counted here: 2**30 bytes.
KIB_MS_PER_GB_SECOND = 1024 * 1024 * 1000

_BODY = struct.Struct("<Q16sQQQQQ??")
_CHECK = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Totals:
    """Cumulative, and only ever growing within one ``generation``; a later one is a higher number.

    ``memory_kib_ms`` is the working set, integrated: KiB times milliseconds. ``counter_us`` is how
    the CPU counter of the cgroup ``group`` stood, ``at_ms`` the machine's monotonic clock and
    ``memory`` the working set in bytes when these were taken. ``held``: does not run for now.
    """

    generation: int
    group: str
    cpu_us: int = 0
    memory_kib_ms: int = 0
    counter_us: int = 0
    at_ms: int = 0
    memory: int = 0
    held: bool = False
    ended: bool = False

    @property
    def cpu_seconds(self) -> float:
        return self.cpu_us / 1e6

    @property
    def gb_seconds(self) -> float:
        return self.memory_kib_ms / KIB_MS_PER_GB_SECOND

    def pack(self) -> bytes:
        """Always as long, so that a write in place never needs room on the disk."""
        body = _BODY.pack(
            self.generation,
            self.group.encode(),
            self.cpu_us,
            self.memory_kib_ms,
            self.counter_us,
            self.at_ms,
            self.memory,
            self.held,
            self.ended,
        )
        return body + _CHECK.pack(zlib.crc32(body))


def load(directory: Path) -> Totals | None:
    """What was kept; None when there is nothing, or nothing that can be believed."""
    with suppress(OSError, struct.error, UnicodeDecodeError):
        packed = (directory / FILE).read_bytes()
        body, (check,) = packed[: _BODY.size], _CHECK.unpack_from(packed, _BODY.size)
        if zlib.crc32(body) == check:
            generation, group, *rest = _BODY.unpack(body)
            return Totals(generation, group.rstrip(b"\0").decode(), *rest)
    return None


class Keeper:
    """The file, kept open: a write of 90 bytes into the page cache survives a killed host."""

    def __init__(self, directory: Path) -> None:
        path = directory / FILE
        self._fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def save(self, totals: Totals) -> None:
        os.pwrite(self._fd, totals.pack(), 0)

    def close(self) -> None:
        os.close(self._fd)


def forget(directory: Path) -> None:
    """Once the totals are stored elsewhere for good."""
    (directory / FILE).unlink(missing_ok=True)
