"""What an account's usage page says. Everything is read from sums, never from usage rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final

from django.db import connection
from django.db.models import Sum

from accounts.models import Token
from sandboxes.host.totals import KIB_MS_PER_GB_SECOND
from sandboxes.models import LIVE
from sandboxes.usage.models import DayUsage, RunUsage

DEAREST: Final = 12
"""Sandboxes of a month that are listed by name."""

RATE_SECONDS: Final = 600
"""A running sandbox's rate is the mean over so long, or over its life if that is shorter."""

WEEK: Final = 7
_NOTHING: Final = Decimal(0)

# Bits of grouping(): set for what a row is a sum over.
_OF_DAY, _OF_TEMPLATE, _OF_TOKEN, _OF_ALL = 0b011, 0b101, 0b110, 0b111
_PARTS: Final = """
SELECT grouping(day, template, token_id), day, template, token_id,
       sum(eur), sum(cpu_us), sum(memory_kib_ms)
FROM usage_dayusage WHERE account_id = %s AND day >= %s AND day < %s
GROUP BY GROUPING SETS ((day), (template), (token_id), ())
"""

# Two index steps a sandbox, however long it has run. A CPU's microseconds a second are cores.
_RUNNING: Final = """
SELECT b.id, b.template,
       coalesce((SELECT sum(u.eur) FROM usage_usage u WHERE u.sandbox_id = b.id), 0) AS eur,
       coalesce(greatest(0, (
           (new.cpu_us - coalesce(old.cpu_us, 0)) * z.eur_per_cpu_hour / 1000000
           + (new.memory_kib_ms - coalesce(old.memory_kib_ms, 0)) * z.eur_per_gb_hour / %(gb)s
       ) / nullif(extract(epoch FROM new.at - coalesce(old.at, b.created_at)), 0)), 0) AS per_hour
FROM sandboxes_sandbox b
LEFT JOIN accounts_size z ON z.name = b.size
LEFT JOIN LATERAL (
    SELECT s.* FROM usage_sample s WHERE s.sandbox_id = b.id ORDER BY s.slot DESC LIMIT 1
) new ON true
LEFT JOIN LATERAL (
    SELECT s.* FROM usage_sample s
    WHERE s.sandbox_id = b.id AND s.slot >= new.slot - %(seconds)s AND s.slot < new.slot
      AND s.generation = new.generation
    ORDER BY s.slot LIMIT 1
) old ON true
WHERE b.account_id = %(account)s AND b.status = ANY(%(live)s)
ORDER BY per_hour DESC, b.id
"""


@dataclass(frozen=True, slots=True)
class Part:
    """What one day, template, token or sandbox used. ``key`` is a date or an id, maybe empty."""

    key: Any
    eur: Decimal
    cpu_us: int
    memory_kib_ms: int
    name: str = ""
    template: str = ""

    @property
    def cpu_hours(self) -> float:
        return self.cpu_us / 3.6e9

    @property
    def gb_hours(self) -> float:
        return self.memory_kib_ms / KIB_MS_PER_GB_SECOND / 3600


@dataclass(frozen=True, slots=True)
class Month:
    """A month's usage, each list dearest first but ``days``, which has every day in order.

    ``others`` is what the sandboxes cost that are not among ``sandboxes``.
    """

    first: date
    total: Part
    days: list[Part]
    templates: list[Part]
    tokens: list[Part]
    sandboxes: list[Part]
    others: Decimal


@dataclass(frozen=True, slots=True)
class Running:
    """A live sandbox: what it has cost so far, and what it adds in an hour at its present rate."""

    sandbox_id: str
    template: str
    eur: Decimal
    per_hour: Decimal


def month_from(text: str, *, today: date) -> date:
    """The first day of ``2030-01``; of today's month for what is no month of the past."""
    try:
        first = datetime.strptime(text, "%Y-%m").replace(tzinfo=UTC).date()
    except ValueError:
        return today.replace(day=1)
    return min(first, today.replace(day=1))


def month_after(first: date) -> date:
    """The first day of the next."""
    return (first.replace(day=28) + timedelta(days=4)).replace(day=1)


def month_before(first: date) -> date:
    """The first day of the one before; the calendar's first month has none and is its own."""
    return (first - timedelta(days=1)).replace(day=1) if first > date.min else first


def usage_month(*, account_id: str, first: date, today: date) -> Month:
    """The month that begins with ``first``, as far as it has come by ``today``."""
    end = month_after(first)
    with connection.cursor() as cursor:
        cursor.execute(_PARTS, [account_id, first, end])
        rows = cursor.fetchall()
    parts: dict[int, list[Part]] = {}
    for grouping, day, template, token_id, *sums in rows:
        key = {_OF_DAY: day, _OF_TEMPLATE: template, _OF_TOKEN: token_id}.get(grouping)
        parts.setdefault(grouping, []).append(_part(key, sums))
    total = parts[_OF_ALL][0]
    dearest = _dearest(account_id, first)
    return Month(
        first=first,
        total=total,
        days=_every_day(parts.get(_OF_DAY, []), first, min(end, today + timedelta(days=1))),
        templates=_by_price(parts.get(_OF_TEMPLATE, [])),
        tokens=_named(_by_price(parts.get(_OF_TOKEN, []))),
        sandboxes=dearest,
        others=total.eur - sum((one.eur for one in dearest), _NOTHING),
    )


def usage_running(account_id: str) -> list[Running]:
    """The account's live sandboxes, those that cost most an hour first."""
    values: dict[str, Any] = {"account": account_id, "live": [status.value for status in LIVE]}
    values |= {"gb": KIB_MS_PER_GB_SECOND, "seconds": RATE_SECONDS}
    with connection.cursor() as cursor:
        cursor.execute(_RUNNING, values)
        return [Running(*row) for row in cursor.fetchall()]


def usage_a_day(account_id: str, *, today: date) -> Decimal:
    """The mean of the last whole days: a week, or as many as there were since the first usage."""
    rows = DayUsage.objects.filter(account_id=account_id, day__lt=today)
    recent = rows.filter(day__gte=today - timedelta(days=WEEK))
    days = dict(recent.values("day").annotate(eur=Sum("eur")).values_list("day", "eur"))
    if not days:
        return _NOTHING
    return sum(days.values(), _NOTHING) / (today - min(days)).days


def _part(key: Any, sums: Sequence[Any]) -> Part:
    eur, cpu_us, memory = sums
    return Part(key, eur or _NOTHING, int(cpu_us or 0), int(memory or 0))


def _by_price(parts: list[Part]) -> list[Part]:
    return sorted(parts, key=lambda part: (-part.eur, part.key))


def _every_day(parts: list[Part], first: date, end: date) -> list[Part]:
    found = {part.key: part for part in parts}
    days = [first + timedelta(days=number) for number in range((end - first).days)]
    return [found.get(day) or Part(day, _NOTHING, 0, 0) for day in days]


def _named(parts: list[Part]) -> list[Part]:
    names = token_names([part.key for part in parts])
    return [
        Part(
            part.key,
            part.eur,
            part.cpu_us,
            part.memory_kib_ms,
            names.get(part.key, "A deleted token") if part.key else "People",
        )
        for part in parts
    ]


def token_names(ids: Sequence[str]) -> dict[str, str]:
    """What these tokens are called."""
    return dict(Token.objects.filter(id__in=ids).values_list("id", "name"))


def _dearest(account_id: str, first: date) -> list[Part]:
    rows = RunUsage.objects.filter(account_id=account_id, month=first).order_by("-eur")[:DEAREST]
    return [
        Part(row.sandbox_id, row.eur, row.cpu_us, row.memory_kib_ms, template=row.template)
        for row in rows
    ]
