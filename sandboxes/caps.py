"""Stops what runs beyond what was agreed: pauses what may cost no more, ends the longest runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from django.db import connection, transaction
from django.db.models import F, QuerySet

from accounts.models import Plan
from sandboxes.limits import budget_reached, cap_reached, credit_used_up
from sandboxes.models import LIVE, Sandbox, Status
from sandboxes.parking import Rule, park
from sandboxes.services import sandbox_ended
from timeline.events import Actor, Kind, NewEvent
from timeline.selectors import events_after
from timeline.services import events_append

BATCH: Final = 100
_POLICY: Final = Actor("policy", name="plan")
_BUDGET: Final = Actor("policy", name="budget")

Terminate = Callable[..., list[str]]


@dataclass(frozen=True, slots=True)
class Over:
    """A sandbox beyond a cap. ``value`` and ``cap`` are in EUR or in seconds."""

    sandbox: Sandbox
    value: float
    cap: float
    detail: str


@dataclass(frozen=True, slots=True)
class Stop:
    """Why something stops: ``limit`` is the word of ``limit.hit``, ``rule`` the pause's."""

    limit: str
    rule: Rule


CREDIT: Final = Stop("budget", Rule("usage_exhausted", "credit", _POLICY, always=True))
MONTH: Final = Stop("monthly_cap", Rule("monthly_cap_reached", "cap", _POLICY, always=True))
RUN: Final = Stop("run_budget", Rule("budget_reached", "budget", _BUDGET, always=True))

_OVER_BUDGET: Final = """
SELECT b.id, spent.eur FROM sandboxes_sandbox b
CROSS JOIN LATERAL (SELECT sum(u.eur) AS eur FROM usage_usage u WHERE u.sandbox_id = b.id) spent
WHERE b.status = 'running' AND b.budget_eur IS NOT NULL AND spent.eur >= b.budget_eur
ORDER BY b.id LIMIT %s
"""


def enforce(*, now: datetime, terminate: Terminate) -> None:
    """``terminate`` is the reaper's: ends these on the host and says which are gone."""
    _pause(_out_of_credit(), CREDIT, terminate)
    _pause(_beyond_month(now), MONTH, terminate)
    _pause(_beyond_budget(), RUN, terminate)
    _end(_too_long(now), limit="lifetime", reason="lifetime_cap_reached", terminate=terminate)


def _out_of_credit() -> list[Over]:
    rows = _running().filter(
        account__plan__stops_at_credit=True,
        account__spending__eur__gte=F("account__plan__trial_credit_eur"),
    )
    return [
        _money(
            row,
            row.account.spending.eur,
            row.account.plan.trial_credit_eur,
            credit_used_up(row.account.plan),
        )
        for row in rows.select_related("account__plan", "account__spending")[:BATCH]
    ]


def _beyond_month(now: datetime) -> list[Over]:
    rows = _running().filter(
        account__spending__month=now.astimezone(UTC).date().replace(day=1),
        account__spending__month_eur__gte=F("account__cap__monthly_eur"),
    )
    found = rows.select_related("account__plan", "account__spending", "account__cap")[:BATCH]
    return [
        _money(
            row,
            row.account.spending.month_eur,
            row.account.cap.monthly_eur,
            cap_reached(row.account.cap.monthly_eur),
        )
        for row in found
    ]


def _beyond_budget() -> list[Over]:
    with connection.cursor() as cursor:
        cursor.execute(_OVER_BUDGET, [BATCH])
        spent = {row[0]: row[1] for row in cursor.fetchall()}
    rows = _running().filter(id__in=spent, budget_eur__isnull=False)
    return [
        _money(row, spent[row.id], row.budget_eur, budget_reached(row.budget_eur))
        for row in rows.select_related("account__plan")
        if row.budget_eur is not None
    ]


def _money(row: Sandbox, spent: Decimal, most: Decimal, detail: str) -> Over:
    return Over(row, float(spent), float(most), detail)


def _too_long(now: datetime) -> list[Over]:
    return [
        _ran_too_long(row, now, plan.name, seconds)
        for plan in Plan.objects.exclude(max_running_lifetime_seconds=None)
        if (seconds := plan.max_running_lifetime_seconds) is not None
        for row in _live().filter(
            account__plan=plan, started_at__lte=now - timedelta(seconds=seconds)
        )[:BATCH]
    ]


def _ran_too_long(row: Sandbox, now: datetime, plan: str, seconds: int) -> Over:
    ran = (now - (row.started_at or row.created_at)).total_seconds()
    detail = f"The {plan} plan lets a sandbox run for {seconds} seconds in one go; start a new one."
    return Over(row, round(ran, 3), seconds, detail)


def _live() -> QuerySet[Sandbox]:
    return Sandbox.objects.filter(status__in=LIVE).order_by("id")


def _running() -> QuerySet[Sandbox]:
    return Sandbox.objects.filter(status=Status.RUNNING).order_by("id")


def _pause(over: Sequence[Over], stop: Stop, terminate: Terminate) -> None:
    """What cannot be paused ends: it may cost no more either way."""
    for one in over:
        _tell_once(one, stop.limit, stop.rule.actor)
    if over:
        left = park([one.sandbox for one in over], rule=stop.rule)
        _terminate(left, reason=stop.rule.word, terminate=terminate)


def _end(over: Sequence[Over], *, limit: str, reason: str, terminate: Terminate) -> None:
    for one in over:
        _tell_once(one, limit, _POLICY)
    _terminate([one.sandbox.id for one in over], reason=reason, terminate=terminate)


def _terminate(sandbox_ids: Iterable[str], *, reason: str, terminate: Terminate) -> None:
    for sandbox_id in terminate(list(sandbox_ids), reason=reason):
        sandbox_ended(sandbox_id=sandbox_id, status=Status.TERMINATED, reason=reason)


@transaction.atomic
def _tell_once(one: Over, limit: str, actor: Actor) -> None:
    """Once for each time that it runs: a slow host has the next round find it again."""
    kinds = [Kind.LIMIT_HIT.value, Kind.SANDBOX_RESUMED.value]
    since: list[object] = []
    for told in events_after(sandbox_id=one.sandbox.id, kinds=kinds):
        since = [] if told.kind == Kind.SANDBOX_RESUMED else [*since, told.data.get("limit")]
    if limit in since:
        return
    data = {"limit": limit, "value": one.value, "cap": one.cap, "detail": one.detail}
    event = NewEvent(Kind.LIMIT_HIT, data, actor)
    events_append(sandbox_id=one.sandbox.id, events=[event])
