"""What is asked of an interpreter and what it answers. Shared with the host's client."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

DEFAULT_CONTEXT: Final = "default"
#: Contexts of one sandbox, the default one included. An idle one takes about 25 MB.
CONTEXTS_LIMIT: Final = 8
#: Cells that wait for their turn in one context.
WAITING_LIMIT: Final = 16
#: Bytes of one cell.
CODE_LIMIT: Final = 1024 * 1024

ToldKind = Literal["accepted", "stream", "result", "error", "done"]


@dataclass(frozen=True, slots=True)
class CodeRequest:
    """A cell. ``cell_id`` (``cell_<ULID>``) is the span of its events; seconds are running time."""

    cell_id: str
    code: str
    context_id: str
    timeout_seconds: float


@dataclass(frozen=True, slots=True)
class Told:
    """One thing a caller is told of a cell, as the wire has it; ``done`` is the last.

    The first is ``accepted``: the cell has its place in a context, and only its end is to come.
    """

    kind: ToldKind
    body: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class ContextInfo:
    """A context. Times are µs since the epoch; ``executions`` counts the cells it ever ran."""

    context_id: str
    cwd: str
    created_at: int
    last_used_at: int | None
    executions: int
    alive: bool

    def to_json(self) -> dict[str, Any]:
        return asdict(self)
