"""A whole run at a glance: its commands as bars, or how many a stretch of time had."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Final

from django.db import connection

from timeline.filters import NO_OUTPUT
from timeline.stretches import counted_parts

MOST_BARS: Final = 1000
BUCKETS: Final = 400
_MOST_MARKS: Final = 300
_MOST_RUNNING: Final = 30
_LABEL: Final = 90
_BAD: Final = """
    CASE kind WHEN 'code.done' THEN data ->> 'status' IS DISTINCT FROM 'ok'
    ELSE data -> 'exit_code' IS DISTINCT FROM '0'::jsonb OR data -> 'timed_out' = 'true' END
"""
_LATE: Final = "(data -> 'timed_out' = 'true' OR data ->> 'status' = 'interrupted')"
_ENDS: Final = """
    SELECT h.seq, (SELECT at FROM timeline_event WHERE sandbox_id = %(id)s AND seq = 1),
           (SELECT at FROM timeline_event WHERE sandbox_id = %(id)s AND seq = h.seq)
    FROM timeline_head h WHERE sandbox_id = %(id)s
"""
# A command that has ended is where its end is; one that has not, among the last to start.
_BARS: Final = f"""
    SELECT s.seq, extract(epoch FROM s.at) * 1000, extract(epoch FROM e.at) * 1000,
           CASE WHEN e.seq IS NULL THEN 'running' WHEN e.late THEN 'late'
                WHEN e.bad THEN 'bad' ELSE 'ok' END, left(s.label, {_LABEL})
    FROM (
        (SELECT seq, at, span, data ->> 'command' AS label FROM timeline_event
         WHERE sandbox_id = %(id)s AND kind = 'command.started' ORDER BY seq DESC LIMIT %(most)s)
        UNION ALL
        (SELECT seq, at, span, data ->> 'code' FROM timeline_event
         WHERE sandbox_id = %(id)s AND kind = 'code.run' ORDER BY seq DESC LIMIT %(most)s)
        ORDER BY seq DESC LIMIT %(most)s
    ) AS s
    LEFT JOIN LATERAL (
        SELECT seq, at, {_BAD} AS bad, {_LATE} AS late FROM timeline_event
        WHERE sandbox_id = %(id)s AND span = s.span
            AND kind IN ('command.exited', 'terminal.closed', 'code.done') LIMIT 1
    ) AS e ON true
    ORDER BY s.seq
"""  # noqa: S608 - constants of this module
# Stretches of equally many events: when they begin and end is read by key.
_BOUNDS: Final = """
    SELECT extract(epoch FROM at) * 1000 FROM unnest(%(seqs)s::bigint[]) AS bound (seq)
    JOIN timeline_event e ON e.sandbox_id = %(id)s AND e.seq = bound.seq ORDER BY bound.seq
"""
# The newest of each kind, and of those the newest: the index has each kind by itself in order.
_MARKS: Final = f"""
    SELECT seq, extract(epoch FROM at) * 1000, kind FROM (
        SELECT each.* FROM unnest(%(kinds)s::text[]) AS wanted (name) CROSS JOIN LATERAL (
            SELECT seq, at, kind FROM timeline_event
            WHERE sandbox_id = %(id)s AND kind = wanted.name AND {NO_OUTPUT}
            ORDER BY seq DESC LIMIT %(most)s
        ) AS each ORDER BY seq DESC LIMIT %(most)s
    ) AS newest ORDER BY seq
"""  # noqa: S608
_MARK_KINDS: Final = (
    "sandbox.paused", "sandbox.resumed", "sandbox.failed", "sandbox.terminated", "limit.hit",
    "network.denied", "note.added", "signal.raised", "snapshot.created",
)  # fmt: skip
_TICK_KINDS: Final = (
    "file.written", "file.read", "file.deleted", "file.moved", "file.made", "network.allowed",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Strip:
    """Moments are milliseconds since the epoch.

    ``bars``: ``[seq, began, ended or None, ok|bad|late|running, the command's beginning]``.
    ``counts`` instead, of a run with more commands than bars: ``[began, ended, commands, failed,
    seq]``. ``marks``: ``[seq, at, kind]``; ``ticks``: moments when files or connections were.
    """

    first: float = 0
    last: float = 0
    bars: list[list[Any]] = field(default_factory=list)
    counts: list[list[Any]] = field(default_factory=list)
    marks: list[list[Any]] = field(default_factory=list)
    ticks: list[float] = field(default_factory=list)


def strip_of(sandbox_id: str) -> Strip:
    """Bounded in what it answers; of a long run it reads indexes and a few hundred events."""
    with connection.cursor() as cursor:
        cursor.execute(_ENDS, {"id": sandbox_id})
        newest, began, ended = cursor.fetchone() or (0, None, None)
        if began is None or ended is None:
            return Strip()
        cursor.execute(_BARS, {"id": sandbox_id, "most": MOST_BARS + 1})
        bars = [_bar(row) for row in cursor.fetchall()]
        counts: list[list[Any]] = []
        if len(bars) > MOST_BARS:
            counts = _stretches(cursor, sandbox_id, newest)
            bars = [bar for bar in bars if bar[3] == "running"][-_MOST_RUNNING:]
        values: dict[str, Any] = {"id": sandbox_id, "most": _MOST_MARKS}
        cursor.execute(_MARKS, {**values, "kinds": list(_MARK_KINDS)})
        marks = [[seq, round(at), kind] for seq, at, kind in cursor.fetchall()]
        cursor.execute(_MARKS, {**values, "kinds": list(_TICK_KINDS)})
        ticks = [round(at) for _, at, _ in cursor.fetchall()]
    first, last = (round(moment.timestamp() * 1000) for moment in (began, ended))
    return Strip(first, last, bars, counts, marks, ticks)


def _bar(row: tuple[Any, ...]) -> list[Any]:
    seq, began, ended, state, label = row
    return [seq, round(began), None if ended is None else round(ended), state, label]


def _stretches(cursor: Any, sandbox_id: str, newest: int) -> list[list[Any]]:
    bounds = [1 + (newest - 1) * number // BUCKETS for number in range(BUCKETS + 1)]
    cursor.execute(_BOUNDS, {"id": sandbox_id, "seqs": bounds})
    moments = [round(at) for (at,) in cursor.fetchall()]
    counted = counted_parts(sandbox_id, newest=newest, parts=BUCKETS)
    return [
        [moments[part], moments[part + 1], commands, failed, seq]
        for part, commands, failed, seq in counted
        if part + 1 < len(moments)
    ]
