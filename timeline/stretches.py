"""How many commands ended, and failed, in each 64 events of a run: counted once, behind what is
stored, so that a run of a million events is looked at as quickly as a short one."""

from __future__ import annotations

import time
from typing import Any, Final

from django.db import connection

from timeline.filters import FAILED, NO_OUTPUT

EVENTS: Final = 64
_AT_ONCE: Final = 256  # stretches counted by one statement
_EXITED: Final = f"kind IN ('command.exited', 'code.done') AND {NO_OUTPUT}"
_COUNT: Final = f"""
    INSERT INTO timeline_stretch (sandbox_id, number, commands, failed, commands_to, failed_to)
    SELECT %(id)s, number, commands, failed,
           COALESCE(before.commands_to, 0) + sum(commands) OVER upto,
           COALESCE(before.failed_to, 0) + sum(failed) OVER upto
    FROM (
        SELECT (seq - 1) / {EVENTS} AS number, count(*) FILTER (WHERE {_EXITED}) AS commands,
               count(*) FILTER (WHERE {FAILED}) AS failed
        FROM timeline_event
        WHERE sandbox_id = %(id)s AND seq > %(after)s AND seq <= %(upto)s GROUP BY 1
    ) AS each LEFT JOIN (
        SELECT commands_to, failed_to FROM timeline_stretch
        WHERE sandbox_id = %(id)s AND number < %(after)s / {EVENTS} ORDER BY number DESC LIMIT 1
    ) AS before ON true
    WINDOW upto AS (ORDER BY number) ON CONFLICT DO NOTHING
"""  # noqa: S608 - constants of this module
# A part is the difference of two sums. What is not counted yet is read by indexes alone.
_PARTS: Final = f"""
    WITH bound AS (
        SELECT part, begin.number, COALESCE(commands_to, 0) AS commands_to,
               COALESCE(failed_to, 0) AS failed_to
        FROM generate_series(0, %(parts)s) AS part CROSS JOIN LATERAL (
            SELECT LEAST(%(counted)s::bigint / {EVENTS}, (part * %(newest)s::bigint
                + {EVENTS} * %(parts)s - 1) / ({EVENTS} * %(parts)s)) AS number
        ) AS begin LEFT JOIN LATERAL (
            SELECT commands_to, failed_to FROM timeline_stretch
            WHERE sandbox_id = %(id)s AND number < begin.number ORDER BY number DESC LIMIT 1
        ) AS before ON true
    )
    SELECT part, sum(commands), sum(failed), min(first)
    FROM (
        SELECT low.part, high.commands_to - low.commands_to AS commands,
               high.failed_to - low.failed_to AS failed, low.number * {EVENTS} + 1 AS first
        FROM bound low JOIN bound high ON high.part = low.part + 1 AND high.number > low.number
        UNION ALL
        SELECT (seq - 1) * %(parts)s / %(newest)s, 1, 0, seq FROM timeline_event
        WHERE sandbox_id = %(id)s AND seq > %(counted)s AND seq <= %(newest)s AND {_EXITED}
        UNION ALL
        SELECT (seq - 1) * %(parts)s / %(newest)s, 0, 1, seq FROM timeline_event
        WHERE sandbox_id = %(id)s AND seq > %(counted)s AND seq <= %(newest)s AND ({FAILED})
    ) AS each GROUP BY 1 HAVING sum(commands) > 0 ORDER BY 1
"""  # noqa: S608


def counted_to(sandbox_id: str) -> int:
    """The last ``seq`` whose stretch is counted; 0 for none."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT max(number) FROM timeline_stretch WHERE sandbox_id = %s", [sandbox_id]
        )
        number = cursor.fetchone()[0]
    return 0 if number is None else (int(number) + 1) * EVENTS


def count_stretches(sandbox_id: str, *, newest: int, deadline: float) -> bool:
    """Whether all whole stretches up to ``newest`` are counted; stops at the monotonic deadline.

    Two workers at the same sandbox count the same, of which one is kept.
    """
    upto = newest // EVENTS * EVENTS
    after = counted_to(sandbox_id)
    while after < upto and time.monotonic() < deadline:
        last = min(upto, after + _AT_ONCE * EVENTS)
        with connection.cursor() as cursor:
            cursor.execute(_COUNT, {"id": sandbox_id, "after": after, "upto": last})
        after = last
    return after >= upto


def counted_parts(sandbox_id: str, *, newest: int, parts: int) -> list[tuple[int, int, int, int]]:
    """Of that many equal parts of a run those in which commands ended: part, commands, failures
    and a ``seq`` to begin at. A run too short for stretches is read event by event."""
    counted = counted_to(sandbox_id) if newest >= parts * EVENTS else 0
    values: dict[str, Any] = {"id": sandbox_id, "newest": newest, "parts": parts}
    with connection.cursor() as cursor:
        cursor.execute(_PARTS, {**values, "counted": min(counted, newest)})
        rows = cursor.fetchall()
    return [(int(part), int(commands), int(failed), seq) for part, commands, failed, seq in rows]
