"""Ends what runs beyond what its plan covers: credit that is used up, the longest run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import F, QuerySet

from accounts.models import Plan
from sandboxes.limits import credit_used_up
from sandboxes.models import LIVE, Sandbox, Status
from sandboxes.services import sandbox_ended
from timeline.events import Actor, Kind, NewEvent
from timeline.selectors import events_after
from timeline.services import events_append

BATCH: Final = 100
_POLICY: Final = Actor("policy", name="plan")

Terminate = Callable[..., list[str]]


@dataclass(frozen=True, slots=True)
class Over:
    """A sandbox beyond a cap. ``value`` and ``cap`` are in EUR or in seconds."""

    sandbox_id: str
    value: float
    cap: float
    detail: str


def enforce(*, now: datetime, terminate: Terminate) -> None:
    """``terminate`` is the reaper's: ends these on the host and says which are gone."""
    _end(_out_of_credit(), limit="budget", reason="usage_exhausted", terminate=terminate)
    _end(_too_long(now), limit="lifetime", reason="lifetime_cap_reached", terminate=terminate)


def _out_of_credit() -> list[Over]:
    rows = _live().filter(
        account__plan__stops_at_credit=True,
        account__spending__eur__gte=F("account__plan__trial_credit_eur"),
    )
    found = rows.select_related("account__plan", "account__spending")[:BATCH]
    return [
        Over(
            row.id,
            float(row.account.spending.eur),
            float(row.account.plan.trial_credit_eur),
            credit_used_up(row.account.plan),
        )
        for row in found
    ]


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
    return Over(row.id, round(ran, 3), seconds, detail)


def _live() -> QuerySet[Sandbox]:
    return Sandbox.objects.filter(status__in=LIVE).order_by("id")


def _end(over: Sequence[Over], *, limit: str, reason: str, terminate: Terminate) -> None:
    for one in over:
        _tell_once(one, limit)
    for sandbox_id in terminate([one.sandbox_id for one in over], reason=reason):
        sandbox_ended(sandbox_id=sandbox_id, status=Status.TERMINATED, reason=reason)


@transaction.atomic
def _tell_once(one: Over, limit: str) -> None:
    """The host may be slow to end it, and then the next round finds it again."""
    told = events_after(sandbox_id=one.sandbox_id, kinds=[Kind.LIMIT_HIT.value])
    if any(event.data.get("limit") == limit for event in told):
        return
    data = {"limit": limit, "value": one.value, "cap": one.cap, "detail": one.detail}
    event = NewEvent(Kind.LIMIT_HIT, data, _POLICY)
    events_append(sandbox_id=one.sandbox_id, events=[event])
