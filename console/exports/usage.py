"""A month's usage as CSV, written while it is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, Final

from django.db import connection

from accounts.database import in_database
from console.exports.cells import csv_lines
from sandboxes.host.totals import KIB_MS_PER_GB_SECOND
from sandboxes.usage.report import month_after, token_names

_PAGE: Final = 2000
_SUMS: Final = ("cpu_hours", "memory_gb_hours", "eur")

Row = tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class _Way:
    """A query of keyset pages. It selects its key first, then the columns, then the sums."""

    columns: tuple[str, ...]
    key: int
    first: Callable[[date], tuple[Any, ...]]
    sql: str


def _start_of(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


BY: Final = {
    "day": _Way(
        ("day", "template", "token_id", "token"),
        3,
        lambda first: (first, "", ""),
        """
        SELECT day, template, token_id, cpu_us, memory_kib_ms, eur FROM usage_dayusage
        WHERE account_id = %(account)s AND day >= %(first)s AND day < %(end)s
          AND (%(is_first)s OR (day, template, token_id) > (%(a)s, %(b)s, %(c)s))
        ORDER BY day, template, token_id LIMIT %(page)s
        """,
    ),
    "sandbox": _Way(
        ("sandbox_id", "template", "token_id", "token"),
        1,
        lambda _: ("",),
        """
        SELECT sandbox_id, template, token_id, cpu_us, memory_kib_ms, eur FROM usage_runusage
        WHERE account_id = %(account)s AND month = %(first)s AND sandbox_id > %(a)s
        ORDER BY sandbox_id LIMIT %(page)s
        """,
    ),
    "hour": _Way(
        ("hour", "sandbox_id"),
        2,
        lambda first: (_start_of(first), ""),
        """
        SELECT hour, sandbox_id, cpu_us, memory_kib_ms, eur FROM usage_usage
        WHERE account_id = %(account)s AND hour >= %(a)s AND hour < %(end_at)s
          AND (hour, sandbox_id) > (%(a)s, %(b)s)
        ORDER BY hour, sandbox_id LIMIT %(page)s
        """,
    ),
}
"""What a line can stand for."""


async def usage_csv(*, account_id: str, first: date, by: str) -> AsyncIterator[bytes]:
    """RFC 4180 with a line of names first; no cell is taken for a formula."""
    way = BY[by]
    yield csv_lines([(*way.columns, *_SUMS)])
    key, is_first = way.first(first), True
    while True:
        rows = await in_database(_page, way, account_id, first, key, is_first=is_first)
        if rows:
            yield csv_lines(await in_database(_cells, way, rows))
            key, is_first = rows[-1][: way.key], False
        if len(rows) < _PAGE:
            return


def _page(
    way: _Way, account_id: str, first: date, key: Sequence[Any], *, is_first: bool
) -> list[Row]:
    end = month_after(first)
    values = dict(zip("abc", key, strict=False))
    values |= {"account": account_id, "first": first, "end": end, "end_at": _start_of(end)}
    with connection.cursor() as cursor:
        cursor.execute(way.sql, {**values, "is_first": is_first, "page": _PAGE})
        return list(cursor.fetchall())


def _cells(way: _Way, rows: Sequence[Row]) -> list[Row]:
    has_token = "token" in way.columns
    names = token_names(list({row[2] for row in rows})) if has_token else {}
    lines = []
    for *columns, cpu_us, memory, eur in rows:
        shown = [one.isoformat() if isinstance(one, date) else one for one in columns]
        named = [*shown, names.get(shown[2], "")] if has_token else shown
        gb_hours = memory / KIB_MS_PER_GB_SECOND / 3600
        lines.append((*named, f"{cpu_us / 3.6e9:.6f}", f"{gb_hours:.6f}", f"{eur:.12f}"))
    return lines
