"""Recordings on the host's disk: asciicast v2, masked, for root alone, to a ceiling.

``recordings/<sandbox>/<terminal>.cast`` is one; ``.json`` beside it says what it is of. They
outlive their sandbox, for thirty days; all together have a ceiling, for which the oldest go first.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

import orjson

from sandboxes.host.terminals.screen import KEPT
from sandboxes.host.terminals.types import TerminalInfo, check_terminal_id, no_such_terminal

#: Bytes of one recording, and of all of a host.
CEILING: Final = 64 * 1024 * 1024
TOTAL: Final = 8 * 1024 * 1024 * 1024
KEPT_SECONDS: Final = 30 * 24 * 3600
#: Bytes in one answer.
SLICE: Final = 1024 * 1024
_END_NOTE: Final = "\r\n\x1b[0m[The recording ends here: it has reached 64 MiB.]\r\n"


class Recording:
    """The file that one terminal is recorded in. Whatever writes may raise ``OSError``."""

    def __init__(self, path: Path, *, started_at: int, size: int = 0) -> None:
        self._path = path
        self._started_at = started_at
        self.size = size
        self._file = -1

    @property
    def cut_off(self) -> bool:
        """Whether the ceiling is reached."""
        return self.size >= CEILING

    def begin(self, *, columns: int, rows: int, env: dict[str, str]) -> None:
        header = {
            "version": 2,
            "width": columns,
            "height": rows,
            "timestamp": self._started_at // 1_000_000,
            "env": env,
        }
        self._write(orjson.dumps(header) + b"\n")

    def take_up(self) -> None:
        """Goes on where ``size`` says; what lies behind it is written again."""
        with suppress(FileNotFoundError):
            if self._path.stat().st_size > self.size:
                os.truncate(self._path, self.size)

    def line(self, at: int, kind: str, text: str) -> bytes:
        """One event of the recording: ``o`` output, ``i`` input, ``r`` size, ``m`` mark."""
        seconds = max(0, at - self._started_at) / 1e6
        return orjson.dumps([round(seconds, 6), kind, text]) + b"\n"

    def add(self, lines: Iterable[bytes]) -> None:
        """Up to the ceiling, where a note takes the place of the rest."""
        if self.cut_off:
            return
        data = b"".join(lines)
        if self.size + len(data) > CEILING:
            whole = data.rfind(b"\n", 0, CEILING - self.size) + 1
            note = self.line(time.time_ns() // 1000, "o", _END_NOTE)
            data = data[:whole] + note
            self._write(data)
            self.size = max(self.size, CEILING)
        elif data:
            self._write(data)

    def _write(self, data: bytes) -> None:
        if self._file < 0:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
            self._file = os.open(self._path, flags, 0o600)
        self.size += os.write(self._file, data)

    def last_output(self) -> bytes:
        """The end of what was shown, for the screen of a host that has just been started."""
        try:
            with self._path.open("rb") as file:
                file.seek(max(0, self.size - 4 * KEPT))
                lines = file.read(4 * KEPT).splitlines()[1:]
        except OSError:
            return b""
        shown = [event[2] for event in map(_event, lines) if event and event[1] == "o"]
        return "".join(shown).encode("utf-8", "replace")[-KEPT:]

    def close(self) -> None:
        if self._file >= 0:
            os.close(self._file)
            self._file = -1


def _event(line: bytes) -> list[Any] | None:
    try:
        event = orjson.loads(line)
    except ValueError:
        return None
    return event if isinstance(event, list) and len(event) == 3 else None


class Recordings:
    """All recordings of one sandbox."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def path(self, terminal_id: str) -> Path:
        return self.directory / f"{terminal_id}.cast"

    def note(self, info: TerminalInfo) -> None:
        """Writes down what a recording is of, whole. Raises ``OSError``."""
        self.directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        path = self.directory / f"{info.id}.json"
        scratch = path.with_suffix(".new")
        scratch.touch(mode=0o600)
        scratch.write_bytes(orjson.dumps(info.to_json()))
        scratch.rename(path)

    def all(self) -> list[TerminalInfo]:
        """In the order in which the terminals were opened."""
        found = []
        for path in sorted(self.directory.glob("*.json")):
            with suppress(OSError, ValueError, TypeError, KeyError):
                found.append(TerminalInfo.from_json(orjson.loads(path.read_bytes())))
        return found

    def read(self, terminal_id: str, *, offset: int) -> tuple[bytes, int]:
        """A slice from ``offset`` on, and how many bytes there are now. Raises ``HostError``."""
        try:
            descriptor = os.open(
                self.path(check_terminal_id(terminal_id)), os.O_RDONLY | os.O_CLOEXEC
            )
        except FileNotFoundError:
            raise no_such_terminal() from None
        try:
            size = os.fstat(descriptor).st_size
            return (os.pread(descriptor, SLICE, offset) if offset < size else b""), size
        finally:
            os.close(descriptor)


def prune(directory: Path, *, total: int = TOTAL, seconds: float = KEPT_SECONDS) -> None:
    """Removes recordings that are too old, and the oldest while all are too large together."""
    files = []
    for path in directory.glob("*/*.cast"):
        with suppress(OSError):
            status = path.stat()
            files.append((status.st_mtime, status.st_size, path))
    room, oldest = total, time.time() - seconds
    for changed, size, path in sorted(files, reverse=True):
        room -= size
        if room < 0 or changed < oldest:
            with suppress(OSError):
                path.unlink(missing_ok=True)
                path.with_suffix(".json").unlink(missing_ok=True)
                path.parent.rmdir()  # only when nothing is left in it
