"""For how long an account keeps timelines: whole runs go, some days after they ended.

A timeline is all there or gone, so that what is shown of one is never part of what happened. Pinned
events stay, with the notes; so does the sandbox's row, and what it cost. A run that has not ended
keeps everything, however old it is.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import QuerySet

from accounts.models import Account
from accounts.origin import Origin
from accounts.policy import Principal, Scope, require
from accounts.selectors import account_locked
from accounts.services import account_change
from sandboxes.errors import InvalidRequest
from sandboxes.models import ENDED, Sandbox
from timeline.services import events_remove

LEAST_DAYS: Final = 1
MOST_DAYS: Final = 3650
_BATCH: Final = 200
_NOWHERE: Final = Origin()


@dataclass(frozen=True, slots=True)
class Forecast:
    """What keeping timelines for ``days`` removes: ``runs`` at once, of those that ended before
    the day that begins with ``cutoff``; then those of one more day every day."""

    days: int
    cutoff: datetime
    runs: int


def cutoff_of(days: int, *, now: datetime) -> datetime:
    """Whole days (UTC) go: the beginning of the oldest day that is kept."""
    midnight = now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return midnight - timedelta(days=days)


def forecast(*, account_id: str, days: int, now: datetime) -> Forecast:
    """What that would remove. Raises ``InvalidRequest``."""
    _checked(days)
    cutoff = cutoff_of(days, now=now)
    return Forecast(days, cutoff, _due(account_id, cutoff).count())


def _checked(days: int) -> None:
    if not LEAST_DAYS <= days <= MOST_DAYS:
        raise InvalidRequest(f"Timelines are kept for {LEAST_DAYS} to {MOST_DAYS:,} days.")


def _due(account_id: str, cutoff: datetime) -> QuerySet[Sandbox]:
    return Sandbox.objects.filter(
        account_id=account_id,
        status__in=ENDED,
        ended_at__lt=cutoff,
        timeline_removed_at__isnull=True,
    )


@transaction.atomic
def retention_set(*, principal: Principal, days: int, origin: Origin = _NOWHERE) -> Account:
    """Raises ``InvalidRequest`` and ``Forbidden``."""
    require(principal, Scope.SETTINGS_WRITE)
    _checked(days)
    account = account_locked(principal.account_id)
    account_change(
        account=account,
        field="timeline_days",
        value=days,
        action="account.retention_changed",
        principal=principal,
        origin=origin,
    )
    return account


def retention_apply(*, now: datetime, seconds: float = 120.0) -> int:
    """Remove what every account no longer keeps, the oldest first; how many runs that were.

    Whatever there was no time for comes with the next round, and so does a run that a killed
    process had begun with.
    """
    until = time.monotonic() + seconds
    removed = 0
    for account_id, days in Account.objects.values_list("id", "timeline_days"):
        due = _due(account_id, cutoff_of(days, now=now)).order_by("ended_at")
        while ids := list(due.values_list("id", flat=True)[:_BATCH]):
            for sandbox_id in ids:
                if time.monotonic() >= until:
                    return removed
                events_remove(sandbox_id=sandbox_id)
                Sandbox.objects.filter(id=sandbox_id).update(timeline_removed_at=now)
                removed += 1
    return removed
