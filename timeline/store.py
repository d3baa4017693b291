"""From journal batches to numbered rows, in one transaction. No ORM: this is the busy part.

Rows go in by binary COPY, straight into the table. Nothing can conflict, because the head row of
each sandbox is locked first and says what is there; see ``timeline.log`` for the argument.
"""

from __future__ import annotations

import logging
import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
import psycopg
from psycopg import Connection

from timeline import metrics
from timeline.events import NewEvent, now_us
from timeline.log import Batch, to_line

COPY_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
COPY_TRAILER: Final = b"\xff\xff"
LONGEST_NAME: Final = 200  # of a kind or span; PostgreSQL indexes hold at most 2.7 kB
_COPY: Final = (
    "COPY timeline_event (sandbox_id, seq, at, kind, actor, span, data) FROM STDIN (FORMAT binary)"
)
_LOCK: Final = (
    "SELECT sandbox_id, seq, journal FROM timeline_head WHERE sandbox_id = ANY(%s)"
    " ORDER BY sandbox_id FOR UPDATE"
)
_BEGIN: Final = (
    "INSERT INTO timeline_head (sandbox_id, seq, journal)"
    " SELECT id, COALESCE((SELECT max(seq) FROM timeline_event WHERE sandbox_id = id), 0), 0"
    " FROM unnest(%s::text[]) AS id ORDER BY id ON CONFLICT DO NOTHING"
)
_MOVE: Final = (
    "UPDATE timeline_head SET seq = moved.seq, journal = moved.journal"
    " FROM unnest(%s::text[], %s::bigint[], %s::bigint[]) AS moved (sandbox_id, seq, journal)"
    " WHERE timeline_head.sandbox_id = moved.sandbox_id"
)
_PG_EPOCH_US: Final = 946_684_800_000_000
_LATEST_US: Final = 2**53
# Data exceptions and program limits: the row's own fault, so the row gives way, not the shard.
_ROW_FAULTS: Final = ("22", "54")
_REASONS: Final = ("format", "count")

_field = struct.Struct("!i").pack
_number = struct.Struct("!iq").pack

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Head:
    seq: int
    journal: int


@dataclass(frozen=True, slots=True)
class Stored:
    """What became of one batch.

    ``lines`` are the events that were new, and have ``seq`` ``first`` and following. ``position``
    is how far the journal is stored now, ``head`` the last ``seq``. ``gap``: nothing was stored,
    because records between ``position`` and this batch are missing.
    """

    sandbox_id: str
    first: int
    lines: Sequence[bytes]
    head: int
    position: int
    gap: bool = False


@dataclass(frozen=True, slots=True)
class _Row:
    """An event ready for COPY: its line, and its columns in front of and behind the seq."""

    line: bytes
    columns: bytes


def store(connection: Connection[Any], batches: Sequence[Batch]) -> list[Stored]:
    """Number and store batches of any sandboxes, in order. One transaction when all rows are sound.

    A row that PostgreSQL refuses is found by halving and stored as ``log.unreadable`` under the
    number it would have had. Raises ``psycopg.Error`` when PostgreSQL is away: nothing is stored
    or all of a prefix is, and the same call may be made again.
    """
    try:
        return _store_once(connection, batches, [_rows(batch) for batch in batches])
    except psycopg.Error as error:
        if (error.sqlstate or "")[:2] not in _ROW_FAULTS:
            raise
        return _isolate(connection, batches, error)


def _isolate(
    connection: Connection[Any], batches: Sequence[Batch], error: psycopg.Error
) -> list[Stored]:
    if len(batches) > 1:
        half = len(batches) // 2
        return store(connection, batches[:half]) + store(connection, batches[half:])
    batch = batches[0]
    if batch.count == 1:
        log.error("An event of %s is not storable: %s", batch.sandbox_id, error)
        placeholder = _row(unreadable(batch.lines, reason=str(error.sqlstate)))
        return _store_once(connection, batches, [[placeholder]])
    earlier, later = (store(connection, [part])[0] for part in _halves(batch))
    return [
        Stored(
            batch.sandbox_id,
            earlier.first if earlier.lines else later.first,
            [*earlier.lines, *later.lines],
            later.head,
            later.position,
            later.gap,
        )
    ]


def _halves(batch: Batch) -> tuple[Batch, Batch]:
    lines = _split(batch)
    half = batch.count // 2
    middle = batch.first + half
    return (
        Batch(batch.sandbox_id, batch.before, batch.first, half, b"\n".join(lines[:half])),
        Batch(batch.sandbox_id, middle - 1, middle, batch.count - half, b"\n".join(lines[half:])),
    )


def _store_once(
    connection: Connection[Any], batches: Sequence[Batch], rows: Sequence[Sequence[_Row]]
) -> list[Stored]:
    with connection.transaction(), connection.cursor() as cursor:
        heads = _lock(cursor, {batch.sandbox_id for batch in batches})
        stored: list[Stored] = []
        parts = [COPY_HEADER]
        for batch, batch_rows in zip(batches, rows, strict=True):
            head = heads[batch.sandbox_id]
            fresh = _fresh(batch, batch_rows, head)
            first = head.seq + 1
            parts += _copy_rows(batch.sandbox_id, first, fresh)
            head.seq += len(fresh)
            gap = batch.before > head.journal
            if not gap:
                head.journal = max(head.journal, batch.last)
            lines = [row.line for row in fresh]
            stored.append(Stored(batch.sandbox_id, first, lines, head.seq, head.journal, gap))
        if len(parts) > 1:
            with cursor.copy(_COPY) as copy:
                copy.write(b"".join(parts) + COPY_TRAILER)
            _move(cursor, heads)
    return stored


def _lock(cursor: psycopg.Cursor[Any], sandbox_ids: set[str]) -> dict[str, _Head]:
    """Lock the heads in order of their ids, so that two writers never wait for each other."""
    ids = sorted(sandbox_ids)
    rows = cursor.execute(_LOCK, (ids,)).fetchall()
    if len(rows) < len(ids):
        cursor.execute(_BEGIN, (ids,))
        rows = cursor.execute(_LOCK, (ids,)).fetchall()
    return {sandbox_id: _Head(seq, journal) for sandbox_id, seq, journal in rows}


def _move(cursor: psycopg.Cursor[Any], heads: dict[str, _Head]) -> None:
    ids = list(heads)
    seqs = [head.seq for head in heads.values()]
    positions = [head.journal for head in heads.values()]
    cursor.execute(_MOVE, (ids, seqs, positions))


def _fresh(batch: Batch, rows: Sequence[_Row], head: _Head) -> Sequence[_Row]:
    """The rows that are not there yet; none when something before them is missing."""
    if batch.before > head.journal:
        return ()
    return rows[max(0, head.journal - batch.first + 1) :]


def _copy_rows(sandbox_id: str, first: int, rows: Iterable[_Row]) -> list[bytes]:
    name = sandbox_id.encode()
    start = b"\0\x07" + _field(len(name)) + name
    return [start + _number(8, seq) + row.columns for seq, row in enumerate(rows, first)]


def _split(batch: Batch) -> list[bytes]:
    """As many lines as the batch says it has, whatever its bytes hold."""
    lines = batch.lines.split(b"\n")
    if len(lines) == batch.count:
        return lines
    return [unreadable(b"", reason="count") for _ in range(batch.count)]


def _rows(batch: Batch) -> list[_Row]:
    rows = []
    for line in _split(batch):
        try:
            rows.append(_row(line))
        except (ValueError, KeyError, TypeError, AttributeError):
            log.exception("An event of %s is not readable", batch.sandbox_id)
            rows.append(_row(unreadable(line, reason="format")))
    return rows


def _row(line: bytes) -> _Row:
    """Raises ``ValueError``, ``KeyError`` or ``TypeError`` for what is not an event."""
    event = orjson.loads(line)
    at, span, data, actor = event["at"], event["span"], event["data"], event["actor"]
    if type(at) is not int or not 0 <= at <= _LATEST_US:
        raise ValueError("at")
    if not isinstance(data, dict) or not isinstance(actor["type"], str):
        raise TypeError("data, actor")
    return _Row(
        line,
        _number(8, at - _PG_EPOCH_US)
        + _text(event["kind"])
        + _json(actor)
        + (_field(-1) if span is None else _text(span))
        + _json(data),
    )


def _text(value: str) -> bytes:
    encoded = value.encode()
    if len(encoded) > LONGEST_NAME:
        raise ValueError("too long")
    return _field(len(encoded)) + encoded


def _json(value: dict[str, Any]) -> bytes:
    encoded = orjson.dumps(value)
    return _field(len(encoded) + 1) + b"\x01" + encoded


def unreadable(line: bytes, *, reason: str) -> bytes:
    """The placeholder for a line that cannot be kept: its size and why, never its bytes."""
    metrics.store_dropped.labels(reason if reason in _REASONS else "refused").inc()
    return to_line(
        NewEvent("log.unreadable", data={"bytes": len(line), "reason": reason}, at=now_us())
    )
