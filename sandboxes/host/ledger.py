"""Which background commands a sandbox has had, and what became of them, on disk and in memory.

``background`` in the folder of commands holds one line of JSON for each start, kill and end. A line
is one system call, written before whoever waits for it is answered: a host that is killed finds
them all again.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

import orjson

from sandboxes.host.agent.frames import Ended
from sandboxes.host.types import ExecRequest, HostError

#: Commands that are listed; beyond that the oldest that have ended are forgotten.
LISTED: Final = 512
#: Characters of a command's text that are listed.
SHOWN: Final = 4096
#: Lines after which the file is written anew with what is still listed.
LINES: Final = 8 * LISTED
_TERM: Final = 15


@dataclass(frozen=True, slots=True)
class BackgroundCommand:
    """A command that nobody waits for. ``started_at`` in microseconds since the epoch.

    ``killed`` is one that stopped without an exit code of its own: it was asked to, a signal ended
    it, or its sandbox did. ``kill_asked`` is what turns a clean exit on TERM into that.
    """

    id: str
    command: str
    pid: int
    started_at: int
    status: Literal["running", "exited", "killed"] = "running"
    exit_code: int | None = None
    signal: int | None = None
    duration_ms: int | None = None
    kill_asked: bool = False

    @property
    def is_over(self) -> bool:
        return self.status != "running"

    def to_json(self) -> dict[str, Any]:
        """The shape on disk and on the host's socket."""
        return {name: getattr(self, name) for name in self.__slots__}


@dataclass(frozen=True, slots=True)
class Slice:
    """Bytes of a command's combined output, as they were written, and how many there are now.

    ``is_over`` says that there will not be any more.
    """

    data: bytes
    size: int
    is_over: bool


class Ledger:
    """All of one sandbox. Whatever writes may raise ``OSError`` and has then changed nothing."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._path = directory / "background"
        self._rows: dict[str, BackgroundCommand] = {}
        self._lines = 0
        self._load()

    def _load(self) -> None:
        try:
            lines = self._path.read_bytes().splitlines()
        except FileNotFoundError:
            return
        for line in lines:
            with suppress(ValueError, TypeError):  # torn by a machine that lost its power
                self._take(orjson.loads(line))
        with suppress(OSError):  # a full disk is no reason not to serve them
            self._rewrite()

    def _take(self, fields: dict[str, Any]) -> None:
        if "forgotten" in fields:
            self._rows.pop(fields["forgotten"], None)
        else:
            row = BackgroundCommand(**fields)
            self._rows[row.id] = row

    def _rewrite(self) -> None:
        scratch = self._path.with_suffix(".new")
        scratch.touch(mode=0o600)
        scratch.write_bytes(b"".join(_line(row.to_json()) for row in self._rows.values()))
        scratch.rename(self._path)
        self._lines = len(self._rows)

    def _put(self, fields: dict[str, Any]) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC
        descriptor = os.open(self._path, flags, 0o600)
        try:
            os.write(descriptor, _line(fields))
        finally:
            os.close(descriptor)
        self._take(fields)
        self._lines += 1

    def find(self, command_id: str) -> BackgroundCommand:
        """Raises ``HostError`` (no_such_command)."""
        row = self._rows.get(command_id)
        if row is None:
            message = "There is no such background command in this sandbox; list them."
            raise HostError("no_such_command", message)
        return row

    def all(self) -> list[BackgroundCommand]:
        """In the order in which they were started."""
        return list(self._rows.values())

    def started(self, request: ExecRequest, *, pid: int, at: int) -> None:
        """Notes a start; one that an earlier host noted stays as it is."""
        if request.command_id not in self._rows:
            shown = request.command[:SHOWN]
            self._put(BackgroundCommand(request.command_id, shown, pid, at).to_json())
            self._forget_oldest()

    def kill_asked(self, command_id: str) -> None:
        """Notes that somebody wants it to end."""
        row = self._rows[command_id]
        if not row.is_over and not row.kill_asked:
            self._put(replace(row, kill_asked=True).to_json())

    def ended(self, command_id: str, ended: Ended | None) -> None:
        """Notes the end, the first time. ``ended`` is None when nobody saw how it ended."""
        row = self._rows.get(command_id)
        if row is not None and not row.is_over:
            self._put(replace(row, **_ending(row, ended)).to_json())

    def _forget_oldest(self) -> None:
        over = [row for row in self._rows.values() if row.is_over]
        with suppress(OSError):  # the next start tries again
            for row in over[: max(0, len(self._rows) - LISTED)]:
                self._put({"forgotten": row.id})
                for kept in ("out", "secrets"):
                    (self._directory / f"{row.id}.{kept}").unlink(missing_ok=True)
            if self._lines > LINES:
                self._rewrite()


def _line(fields: Mapping[str, Any]) -> bytes:
    return orjson.dumps(fields) + b"\n"


def _ending(row: BackgroundCommand, ended: Ended | None) -> Mapping[str, Any]:
    if ended is None:
        return {"status": "killed"}
    if ended.exit_code is None or row.kill_asked:
        signal = ended.signal if ended.signal is not None else _TERM
        return {"status": "killed", "signal": signal, "duration_ms": ended.duration_ms}
    return {
        "status": "exited",
        "exit_code": ended.exit_code,
        "duration_ms": ended.duration_ms,
    }
