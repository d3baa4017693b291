"""Everything the fleet wall reads: a handful of queries, however many sandboxes run."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any, Final

import orjson
from django.db import connection
from django.db.models import Q
from django.utils import timezone

from accounts.selectors import account_of
from sandboxes.fleet.attention import Attention, attention_of
from sandboxes.fleet.pulse import Command, Heard, Pulse, data_sql, kinds
from sandboxes.models import LIVE, Sandbox, Status
from sandboxes.signals.selectors import signals_of_account
from sandboxes.usage.history import Totals, usage_between
from sandboxes.usage.selectors import spent_eur
from timeline.events import OUTPUT_KINDS

#: No more are read; the plan of an account with more has room for them on its list.
MOST: Final = 1000
HISTORY_SECONDS: Final = 300
#: Prices and samples change every few seconds at most.
SLOWLY_SECONDS: Final = 4.0
_BEHIND: Final = 40

_HEADS: Final = "SELECT sandbox_id, seq FROM timeline_head WHERE sandbox_id = ANY(%s)"
# One short walk down the index of kinds for each run and kind, whatever else the run has told.
_EVENTS: Final = f"""
    SELECT w.id, e.seq, e.at, e.kind, e.span, e.data
    FROM unnest(%s::text[], %s::bigint[]) AS w(id, after)
    CROSS JOIN unnest(%s::text[]) AS k(kind)
    CROSS JOIN LATERAL (
        SELECT e.seq, e.at, e.kind, e.span, {data_sql()} AS data FROM timeline_event e
        WHERE e.sandbox_id = w.id AND e.kind = k.kind AND e.seq > w.after
          AND NOT (e.kind IN ({", ".join(f"'{kind.value}'" for kind in OUTPUT_KINDS)}))
        ORDER BY e.seq DESC LIMIT {_BEHIND}
    ) AS e
"""  # noqa: S608 - constants of this program
_SAMPLES: Final = """
    SELECT w.id, s.slot, s.at, s.generation, s.cpu_us, s.memory_kib_ms
    FROM unnest(%s::text[], %s::bigint[]) AS w(id, after)
    JOIN usage_sample s ON s.sandbox_id = w.id AND s.slot > w.after
    ORDER BY s.slot
"""
_PRICES: Final = """
    SELECT sandbox_id, sum(eur) FROM usage_usage WHERE sandbox_id = ANY(%s) GROUP BY sandbox_id
"""
_COUNTS: Final = """
    SELECT
        (SELECT count(*) FROM sandboxes_sandbox
         WHERE account_id = %(id)s AND status = ANY(%(live)s)),
        (SELECT count(*) FROM sandboxes_sandbox
         WHERE account_id = %(id)s AND status = ANY(%(kept)s)),
        (SELECT count(*) FROM sandboxes_sandbox
         WHERE account_id = %(id)s AND status = 'failed' AND ended_at >= %(since)s),
        EXISTS (SELECT 1 FROM sandboxes_sandbox WHERE account_id = %(id)s)
"""


@dataclass(frozen=True, slots=True)
class Use:
    """Between samples of the last minutes, oldest first: shares (0…1) of its CPUs and memory."""

    cpu: tuple[float, ...]
    memory: tuple[float, ...]
    memory_bytes: int


@dataclass(frozen=True, slots=True)
class FleetRow:
    """One running sandbox, or a paused one that a person holds."""

    sandbox: Sandbox
    last: Command | None
    streak: int
    attention: Attention
    use: Use | None
    eur: Decimal


@dataclass(frozen=True, slots=True)
class FleetCounts:
    """``failed`` in the last 24 hours; ``any``: whether there ever was a sandbox."""

    live: int
    paused: int
    failed: int
    any: bool
    attention: int
    max_live: int
    max_paused: int
    spent_eur: Decimal
    credit_eur: Decimal
    stops_at_credit: bool


@dataclass(frozen=True, slots=True)
class FleetView:
    """What runs, by what needs attention and then the newest first."""

    rows: list[FleetRow]
    counts: FleetCounts


class Fleet:
    """One account's. Each ``read`` asks only for what came since the one before; for one thread."""

    def __init__(self, account_id: str) -> None:
        self.account_id = account_id
        self._pulses: dict[str, Pulse] = {}
        self._prices: dict[str, Decimal] = {}
        self._slowly_at = 0.0

    def read(self) -> FleetView:
        """As things stand now."""
        now = timezone.now()
        running = self._running()
        ids = [sandbox.id for sandbox in running]
        is_new = any(sandbox_id not in self._pulses for sandbox_id in ids)
        self._pulses = {one: self._pulses.get(one) or Pulse() for one in ids}
        self._hear()
        if is_new or time.monotonic() - self._slowly_at >= SLOWLY_SECONDS:
            self._slowly_at = time.monotonic()
            self._sample(now)
            self._prices = self._read_prices(ids)
        signals = signals_of_account(account_id=self.account_id)
        rows = [self._row(one, signals.get(one.id, ()), now) for one in running]
        rows.sort(key=lambda row: row.sandbox.id, reverse=True)
        rows.sort(key=lambda row: -row.attention.rank)
        return FleetView(rows, self._counts(rows, now))

    def _running(self) -> list[Sandbox]:
        held = Q(status=Status.PAUSED, held_at__isnull=False)
        rows = Sandbox.objects.filter(Q(status__in=LIVE) | held, account_id=self.account_id)
        return list(rows.order_by("-id")[:MOST])

    def _hear(self) -> None:
        heads = dict(_rows(_HEADS, [list(self._pulses)]))
        news = [one for one, seq in heads.items() if seq > self._pulses[one].seq]
        if not news:
            return
        after = [self._pulses[one].seq for one in news]
        heard: dict[str, list[Heard]] = defaultdict(list)
        for one, seq, at, kind, span, data in _rows(_EVENTS, [news, after, kinds()]):
            heard[one].append(Heard(seq, at, kind, span or "", _json(data)))
        for one in news:
            self._pulses[one].hear(heard.get(one, ()), upto=heads[one])

    def _sample(self, now: datetime) -> None:
        oldest = int(now.timestamp()) - HISTORY_SECONDS
        after = [max(oldest, pulse.sampled) for pulse in self._pulses.values()]
        for one, slot, *totals in _rows(_SAMPLES, [list(self._pulses), after]):
            self._pulses[one].sampled = slot
            self._pulses[one].totals.append(Totals(*totals))

    def _read_prices(self, ids: Sequence[str]) -> dict[str, Decimal]:
        return dict(_rows(_PRICES, [list(ids)]))

    def _row(self, sandbox: Sandbox, signals: Sequence[Any], now: datetime) -> FleetRow:
        pulse = self._pulses[sandbox.id]
        return FleetRow(
            sandbox=sandbox,
            last=pulse.last,
            streak=pulse.streak,
            attention=attention_of(sandbox, signals=signals, streak=pulse.streak, now=now),
            use=_use(sandbox, pulse),
            eur=self._prices.get(sandbox.id, Decimal(0)),
        )

    def _counts(self, rows: Sequence[FleetRow], now: datetime) -> FleetCounts:
        values = {
            "id": self.account_id,
            "live": [status.value for status in LIVE],
            "kept": [Status.PAUSING.value, Status.PAUSED.value],
            "since": now - timedelta(hours=24),
        }
        ((live, paused, failed, ever),) = _rows(_COUNTS, values)
        plan = account_of(self.account_id).plan
        return FleetCounts(
            live=live,
            paused=paused,
            failed=failed,
            any=ever,
            attention=sum(row.attention.rank > 0 for row in rows),
            max_live=plan.max_concurrent,
            max_paused=plan.max_snapshots,
            spent_eur=spent_eur(self.account_id),
            credit_eur=plan.trial_credit_eur,
            stops_at_credit=plan.stops_at_credit,
        )


def _use(sandbox: Sandbox, pulse: Pulse) -> Use | None:
    points = usage_between(pulse.totals)
    if not points:
        return None
    memory = sandbox.memory_mb * 1024 * 1024
    return Use(
        tuple(min(1.0, point.cores / float(sandbox.cpu)) for point in points),
        tuple(min(1.0, point.memory / memory) for point in points),
        points[-1].memory,
    )


def _rows(query: str, values: Sequence[Any] | Mapping[str, Any]) -> list[tuple[Any, ...]]:
    with connection.cursor() as cursor:
        cursor.execute(query, values)
        return list(cursor.fetchall())


def _json(data: Any) -> dict[str, Any]:
    return data if isinstance(data, dict) else orjson.loads(data)
