"""What the host and its callers hand each other about terminals."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any, Final, Literal

from sandboxes.host.types import HostError
from timeline.events import Actor

ROWS: Final = range(2, 501)
COLUMNS: Final = range(2, 1001)
#: Bytes that are sent to a watcher before it has shown some: what Ctrl-C has to wait for.
WINDOW: Final = 48 * 1024
#: Bytes that a driver may type before the shell has taken some.
TYPED_WINDOW: Final = 128 * 1024
_ID: Final = re.compile(r"trm_[0-9A-HJKMNP-TV-Z]{26}")
_SEAT: Final = re.compile(r"[A-Za-z0-9_-]{0,64}")


def check_terminal_id(value: str) -> str:
    """Safe as a file's name. Raises ``HostError`` (no_such_terminal)."""
    if _ID.fullmatch(value):
        return value
    raise no_such_terminal()


def no_such_terminal() -> HostError:
    return HostError("no_such_terminal", "There is no such terminal in this sandbox; open one.")


@dataclass(frozen=True, slots=True)
class Size:
    """Of a screen, in characters."""

    rows: int = 24
    columns: int = 80

    def __post_init__(self) -> None:
        """Raises ``HostError`` (invalid)."""
        if self.rows not in ROWS or self.columns not in COLUMNS:
            message = "A terminal has 2 to 500 rows and 2 to 1000 columns; resize the window."
            raise HostError("invalid", message)


@dataclass(frozen=True, slots=True)
class TerminalRequest:
    """A shell to open. ``terminal_id`` (``trm_<ULID>``) is the span of all its events."""

    terminal_id: str
    size: Size = field(default_factory=Size)
    cwd: str = "/workspace"

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> TerminalRequest:
        """The reverse. Raises ``KeyError``, ``TypeError``."""
        return cls(row["terminal_id"], Size(**row["size"]), row["cwd"])


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who comes to a terminal. ``seat`` is what one page keeps, to have its place back later.

    ``page`` names one page from its loading on: its keys are counted through all its connections.
    ``drives`` says that this visitor may type. One who may not sees what the timeline may show:
    with secrets masked.
    """

    actor: Actor
    drives: bool
    seat: str = ""
    page: str = ""

    def __post_init__(self) -> None:
        """Raises ``HostError`` (invalid)."""
        if not _SEAT.fullmatch(self.seat) or not _SEAT.fullmatch(self.page):
            message = "A seat and a page are up to 64 letters and digits; leave them out."
            raise HostError("invalid", message)


@dataclass(frozen=True, slots=True)
class TerminalInfo:
    """One terminal of a sandbox, open or closed. Times in microseconds since the epoch.

    ``recorded`` counts the bytes of its recording; ``cut_off`` says that the recording reached
    its ceiling and ends before the terminal did.
    """

    id: str
    opened_at: int
    opened_by: Mapping[str, str]
    size: Size
    status: Literal["open", "closed"] = "open"
    closed_at: int | None = None
    exit_code: int | None = None
    signal: int | None = None
    recorded: int = 0
    cut_off: bool = False
    driver: str = ""
    watchers: int = 0

    @property
    def is_open(self) -> bool:
        return self.status == "open"

    @property
    def opener(self) -> str:
        """Whose it is, for people."""
        return self.opened_by.get("name") or self.opened_by.get("type", "")

    @property
    def lasted_ms(self) -> int | None:
        """None while it is open."""
        return None if self.closed_at is None else (self.closed_at - self.opened_at) // 1000

    @property
    def opened_moment(self) -> datetime:
        return datetime.fromtimestamp(self.opened_at / 1e6, UTC)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, row: Mapping[str, Any]) -> TerminalInfo:
        """The reverse. Raises ``KeyError``, ``TypeError``."""
        return cls(**{**row, "size": Size(**row["size"])})
