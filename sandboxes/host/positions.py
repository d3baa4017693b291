"""How far the record of each running command has got, on disk.

A position file serves one command after another, because making a file costs far more than writing
to one. Its first page says how far: JSON written over in place by one system call, so that a host
that is killed leaves it whole; ``{}`` when the file is free. What was asked follows behind it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import orjson

PAGE: Final = 4096
#: Free files that are kept for the next commands.
SPARE: Final = 16


class Position:
    """One command's. Every method may raise ``OSError``."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def begin(self, asked: Mapping[str, Any], position: Mapping[str, Any]) -> None:
        """Takes the file for a command."""
        os.pwrite(self._descriptor, orjson.dumps(asked) + b"\n", PAGE)
        self.save(position)

    def save(self, position: Mapping[str, Any]) -> None:
        os.pwrite(self._descriptor, orjson.dumps(position).ljust(PAGE), 0)

    def load(self) -> tuple[dict[str, Any], dict[str, Any]] | None:
        """What was asked and how far it got; None for a free file. Raises ``ValueError``."""
        page = os.pread(self._descriptor, PAGE, 0).strip(b"\0 ")  # NUL where none was written yet
        position = orjson.loads(page) if page else {}
        if not position:
            return None
        size = os.fstat(self._descriptor).st_size
        line = os.pread(self._descriptor, size - PAGE, PAGE).split(b"\n", 1)[0]
        return orjson.loads(line), position

    def clear(self) -> None:
        """Frees the file: the command's end is recorded, or it never started."""
        self.save({})

    def close(self) -> None:
        """Lets go of the file and leaves what it says."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


class Positions:
    """All of one sandbox, in ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._spare: list[Position] = []
        self._taken: set[Path] = set()
        self._next = 0

    def take(self) -> Position:
        """A free file. Raises ``OSError``."""
        if self._spare:
            return self._spare.pop()
        self._directory.mkdir(mode=0o700, exist_ok=True)
        while True:
            self._next += 1
            path = self._directory / f"{self._next}.position"
            if path not in self._taken and not path.exists():
                self._taken.add(path)
                return Position(path)

    def give_back(self, position: Position) -> None:
        position.clear()
        if len(self._spare) < SPARE:
            self._spare.append(position)
        else:
            position.close()
            position.path.unlink(missing_ok=True)
            self._taken.discard(position.path)

    def left(self) -> Iterator[Position]:
        """The files that an earlier host left, free or not."""
        for path in sorted(set(self._directory.glob("*.position")) - self._taken):
            self._taken.add(path)
            yield Position(path)

    def close(self) -> None:
        for position in self._spare:
            position.close()
        self._spare.clear()
