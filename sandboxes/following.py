"""Tasks that read every run's log behind everything else, each with a table of how far it came.

Such a table has ``sandbox_id`` (its key), ``seq`` and ``done``: the run is over and was read to its
end. A run that begins and ends between two rounds is followed like any other.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

from django.db import connection
from ulid import ULID

from sandboxes.models import ENDED, LIVE

#: How long a transaction that makes a sandbox may last, in seconds, and its run still be seen.
_OVERLAP: Final = 60
_NEWEST: Final = "SELECT max(sandbox_id) FROM {table}"
_BEGIN: Final = """
    INSERT INTO {table} (sandbox_id, seq, done{names})
    SELECT s.id, 0, false{values} FROM sandboxes_sandbox s
    WHERE (s.status = ANY(%(live)s) OR s.id >= %(since)s::text)
      AND NOT EXISTS (SELECT 1 FROM {table} t WHERE t.sandbox_id = s.id)
    ON CONFLICT DO NOTHING
"""
_DUE: Final = """
    SELECT t.sandbox_id, t.seq, h.seq, s.status, s.account_id{columns}
    FROM {table} t
    JOIN sandboxes_sandbox s ON s.id = t.sandbox_id
    JOIN timeline_head h ON h.sandbox_id = t.sandbox_id
    WHERE NOT t.done AND (h.seq > t.seq OR s.status = ANY(%(ended)s){others})
    ORDER BY t.sandbox_id LIMIT %(limit)s FOR UPDATE OF t SKIP LOCKED
"""


@dataclass(frozen=True, slots=True)
class Follower:
    """One such table. All of it is constants of the program: nothing here comes from outside.

    ``fresh`` are SQL values of further columns where a run begins; ``columns`` are what is read
    beside a run's id, ``seq``, head, status and account (``t`` is the table, ``s`` the sandbox);
    ``others`` says when a run without news is due all the same.
    """

    table: str
    fresh: Mapping[str, str]
    columns: Sequence[str]
    others: str = ""

    def begin(self) -> None:
        """Take in the runs that are live, and those that began since the newest that is known.

        A table without any begins with what is live: what was over before is nobody's news.
        """
        names, values = (
            "".join(f", {part}" for part in parts) for parts in (self.fresh, self.fresh.values())
        )
        insert = _BEGIN.format(table=self.table, names=names, values=values)
        with connection.cursor() as cursor:
            cursor.execute(_NEWEST.format(table=self.table))
            ((newest,),) = cursor.fetchall()
            cursor.execute(insert, {"live": _words(LIVE), "since": _shortly_before(newest)})

    def due(self, *, limit: int, **values: Any) -> list[tuple[Any, ...]]:
        """Runs with news, and those that ended and were not read to their end; locked.

        ``values`` are what ``others`` names.
        """
        columns = "".join(f", {column}" for column in self.columns)
        others = f" OR {self.others}" if self.others else ""
        query = _DUE.format(table=self.table, columns=columns, others=others)
        with connection.cursor() as cursor:
            cursor.execute(query, {"ended": _words(ENDED), "limit": limit, **values})
            return list(cursor.fetchall())


def _words(statuses: Sequence[Any]) -> list[str]:
    return [status.value for status in statuses]


def _shortly_before(sandbox_id: str | None) -> str | None:
    """The least id of the minute before that one: ids begin with the time they are made at."""
    if sandbox_id is None:
        return None
    prefix, _, made = sandbox_id.partition("_")
    moment = ULID.from_str(made).timestamp - _OVERLAP
    return f"{prefix}_{str(ULID.from_datetime(datetime.fromtimestamp(moment, UTC)))[:10]}"
