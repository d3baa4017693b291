"""What an event is, and the names of every kind. No Django: the sandbox host uses it too."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, Literal

ActorType = Literal["token", "person", "system", "policy"]


class Kind(StrEnum):
    """Every kind of event. The part before the dot is its family, by which the timeline filters."""

    SANDBOX_CREATED = "sandbox.created"
    SANDBOX_RUNNING = "sandbox.running"
    SANDBOX_PAUSED = "sandbox.paused"
    SANDBOX_RESUMED = "sandbox.resumed"
    SANDBOX_TIMEOUT_CHANGED = "sandbox.timeout_changed"
    SANDBOX_BUDGET_CHANGED = "sandbox.budget_changed"
    SANDBOX_EXPIRING = "sandbox.expiring"
    SANDBOX_TERMINATED = "sandbox.terminated"
    SANDBOX_FAILED = "sandbox.failed"
    COMMAND_STARTED = "command.started"
    COMMAND_OUTPUT = "command.output"
    COMMAND_EXITED = "command.exited"
    CODE_CONTEXT = "code.context"
    CODE_RUN = "code.run"
    CODE_OUTPUT = "code.output"
    CODE_RESULT = "code.result"
    CODE_ERROR = "code.error"
    CODE_DONE = "code.done"
    FILE_WRITTEN = "file.written"
    FILE_READ = "file.read"
    FILE_DELETED = "file.deleted"
    FILE_MOVED = "file.moved"
    FILE_MADE = "file.made"
    TERMINAL_OPENED = "terminal.opened"
    TERMINAL_INPUT = "terminal.input"
    TERMINAL_OUTPUT = "terminal.output"
    TERMINAL_RESIZED = "terminal.resized"
    TERMINAL_TAKEN = "terminal.taken"
    TERMINAL_CLOSED = "terminal.closed"
    NETWORK_ALLOWED = "network.allowed"
    NETWORK_DENIED = "network.denied"
    NETWORK_OPENED = "network.opened"
    NETWORK_PREVIEW = "network.preview"
    SNAPSHOT_CREATED = "snapshot.created"
    VOLUME_ATTACHED = "volume.attached"
    LIMIT_HIT = "limit.hit"
    NOTE_ADDED = "note.added"
    NOTE_EDITED = "note.edited"
    NOTE_REMOVED = "note.removed"
    NOTE_RESTORED = "note.restored"
    NOTE_PINNED = "note.pinned"
    NOTE_UNPINNED = "note.unpinned"
    SIGNAL_RAISED = "signal.raised"
    SIGNAL_DISMISSED = "signal.dismissed"
    LOG_UNREADABLE = "log.unreadable"


#: The kinds whose events begin a span that the timeline shows as one card.
BEGINNINGS: Final = (Kind.COMMAND_STARTED, Kind.TERMINAL_OPENED, Kind.CODE_RUN)
#: The kinds whose events end one.
ENDINGS: Final = (Kind.COMMAND_EXITED, Kind.TERMINAL_CLOSED, Kind.CODE_DONE)
#: No event has a higher number; one that a caller gives is checked against it.
LAST_SEQ: Final = 2**62
#: Kinds that make up most of a log and are looked for by their place, never by their kind alone.
OUTPUT_KINDS: Final = (Kind.COMMAND_OUTPUT, Kind.CODE_OUTPUT)


@dataclass(frozen=True, slots=True)
class Actor:
    """Who did it: a token (its name and public prefix), a person, ``system``, or ``policy``."""

    type: ActorType
    id: str = ""
    name: str = ""
    prefix: str = ""

    @property
    def key(self) -> str:
        """One of its kind: the id of a token or person, else the type."""
        return self.id or self.type

    def to_json(self) -> dict[str, str]:
        """Only the parts that are set; ``type`` always is."""
        parts = {"type": self.type, "id": self.id, "name": self.name, "prefix": self.prefix}
        return {key: value for key, value in parts.items() if value}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Actor:
        """The reverse of ``to_json``. Raises ``KeyError`` without a ``type``."""
        return cls(
            type=data["type"],
            id=str(data.get("id", "")),
            name=str(data.get("name", "")),
            prefix=str(data.get("prefix", "")),
        )


SYSTEM = Actor("system")


def now_us() -> int:
    """Microseconds since the epoch, UTC: the unit of every event's ``at``."""
    return time.time_ns() // 1000


@dataclass(frozen=True, slots=True)
class NewEvent:
    """An event before the log gives it a ``seq``. ``at`` is in microseconds since the epoch, UTC.

    ``span`` groups what belongs together: a command's id for everything that command did.
    ``data`` is JSON without NUL characters (PostgreSQL's jsonb refuses them).
    """

    kind: str
    data: dict[str, Any] = field(default_factory=dict)
    actor: Actor = SYSTEM
    span: str | None = None
    at: int = field(default_factory=now_us)

    def to_json(self) -> dict[str, Any]:
        """The shape on the wire and on disk; ``sandbox_id`` and ``seq`` travel beside it."""
        return {
            "at": self.at,
            "kind": self.kind,
            "actor": self.actor.to_json(),
            "span": self.span,
            "data": self.data,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> NewEvent:
        """The reverse of ``to_json``."""
        return cls(
            kind=data["kind"],
            data=data["data"],
            actor=Actor.from_json(data["actor"]),
            span=data["span"],
            at=data["at"],
        )


@dataclass(frozen=True, slots=True)
class Event:
    """An event as the log keeps it: ``seq`` runs 1, 2, 3… per sandbox without a gap."""

    sandbox_id: str
    seq: int
    at: int
    kind: str
    actor: Actor
    span: str | None
    data: dict[str, Any]

    @property
    def at_iso(self) -> str:
        """UTC to the microsecond, as ISO 8601 with an offset."""
        seconds, micros = divmod(self.at, 1_000_000)
        return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{micros:06d}+00:00"

    @property
    def time(self) -> str:
        """HH:MM:SS.mmm in UTC; the page turns it into the reader's zone."""
        seconds, micros = divmod(self.at, 1_000_000)
        return f"{time.strftime('%H:%M:%S', time.gmtime(seconds))}.{micros // 1000:03d}"

    @property
    def family(self) -> str:
        """The part of the kind before the dot."""
        return self.kind.partition(".")[0]

    def to_json(self) -> dict[str, Any]:
        """The shape that scripts, exports and the API see."""
        return {
            "sandbox_id": self.sandbox_id,
            "seq": self.seq,
            "at": self.at,
            "kind": self.kind,
            "actor": self.actor.to_json(),
            "span": self.span,
            "data": self.data,
        }
