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
    INSERT INTO timeline_stretch (sandbox_id, number, commands, failed)
    SELECT %(id)s, (seq - 1) / {EVENTS}, count(*) FILTER (WHERE {_EXITED}),
           count(*) FILTER (WHERE {FAILED})
    FROM timeline_event
    WHERE sandbox_id = %(id)s AND seq > %(after)s AND seq <= %(upto)s
    GROUP BY 2 ON CONFLICT DO NOTHING
"""  # noqa: S608 - constants of this module
# What is not counted yet is read by indexes alone.
_PARTS: Final = f"""
    SELECT (first - 1) * %(parts)s / %(newest)s AS part, sum(commands), sum(failed), min(first)
    FROM (
        SELECT number * {EVENTS} + 1 AS first, commands, failed FROM timeline_stretch
        WHERE sandbox_id = %(id)s AND number < %(counted)s / {EVENTS}
        UNION ALL
        SELECT seq, 1, 0 FROM timeline_event
        WHERE sandbox_id = %(id)s AND seq > %(counted)s AND seq <= %(newest)s AND {_EXITED}
        UNION ALL
        SELECT seq, 0, 1 FROM timeline_event
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
