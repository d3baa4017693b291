"""From a moment to the event that was the last one then."""

from __future__ import annotations

from datetime import datetime
from typing import Final

from django.db import connection

# The clock of a log may jump, but hardly ever does, and only a little: halving finds a neighbour.
_HALVE: Final = """
    WITH RECURSIVE half AS (
        SELECT 1::bigint AS low, (
            SELECT seq FROM timeline_head WHERE sandbox_id = %(id)s
        ) AS high
        UNION ALL
        SELECT CASE WHEN is_before THEN middle ELSE low END,
               CASE WHEN is_before THEN high ELSE middle - 1 END
        FROM (
            SELECT low, high, (low + high + 1) / 2 AS middle, (
                SELECT at <= %(at)s FROM timeline_event
                WHERE sandbox_id = %(id)s AND seq = (low + high + 1) / 2
            ) AS is_before
            FROM half WHERE low < high
        ) AS step
    )
    SELECT low FROM half WHERE low >= high
"""


def seq_at(*, sandbox_id: str, at: datetime) -> int:
    """The last event at or before a moment, the first one when all are later; 0 for no events.

    Some twenty steps along the key, however long the log is.
    """
    with connection.cursor() as cursor:
        cursor.execute(_HALVE, {"id": sandbox_id, "at": at})
        row = cursor.fetchone()
    return int(row[0]) if row and row[0] is not None else 0
