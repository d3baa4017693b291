"""Keeps the rows and the host in step: ends what has expired, finds what either side lost."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Final

from asgiref.sync import async_to_sync
from django.db.models import QuerySet
from django.utils import timezone

from sandboxes import caps
from sandboxes.alone import Duty, alone
from sandboxes.host.types import HostError
from sandboxes.models import ENDED, Sandbox, Status
from sandboxes.parking import follow_host, park
from sandboxes.services import host_client, sandbox_ended, sandbox_fail
from sandboxes.snapshots import give_up_capturing
from sandboxes.volumes import volumes_drop, volumes_expire
from timeline.events import SYSTEM

logger = logging.getLogger(__name__)

START_SECONDS: Final = 120
"""Longer than any create may take: whoever began it is gone."""

MISSING_SECONDS: Final = 10
"""How long a host may not know a sandbox before it is given up: it may just be coming back."""

HEARTBEAT: Final = "sandboxes:reaped"
"""The key of Redis that says when a round began last, in seconds since the epoch."""

BATCH: Final = 100


def reap() -> None:
    """One round. Does nothing while another process is at it, or while the host is away."""
    with alone(Duty.REAPING) as mine:
        if not mine:
            return
        try:
            statuses = async_to_sync(host_client().statuses)()
        except HostError as error:
            logger.warning("reaper: the host did not answer: %s", error.message)
            return
        now = timezone.now()
        expire(now=now)
        caps.enforce(now=now, terminate=terminate_on_host)
        give_up_starting(now=now)
        expire_paused(now=now)
        follow_host(statuses=statuses, now=now)
        give_up_capturing(now=now)
        volumes_expire(now=now)
        volumes_drop()
        reconcile(known=set(statuses), now=now)


def expire(*, now: datetime) -> None:
    """Terminate what has run out of time, or pause what wants that instead."""
    rows = Sandbox.objects.filter(status__in=(Status.STARTING, Status.RUNNING), expires_at__lte=now)
    due = rows.select_related("account__plan").order_by("expires_at")[:BATCH]
    to_park = [one for one in due if one.status == Status.RUNNING and one.on_timeout == "pause"]
    over = ({one.id for one in due} - {one.id for one in to_park}) | set(park(to_park))
    for sandbox_id in terminate_on_host(sorted(over), reason="expired"):
        sandbox_ended(sandbox_id=sandbox_id, status=Status.TERMINATED, reason="expired")


def expire_paused(*, now: datetime) -> None:
    """Terminate what has been paused for as long as its plan keeps it."""
    due = Sandbox.objects.filter(status=Status.PAUSED, paused_expires_at__lte=now)
    for sandbox_id in terminate_on_host(_ids(due), reason="paused_expired"):
        sandbox_ended(sandbox_id=sandbox_id, status=Status.TERMINATED, reason="paused_expired")


def give_up_starting(*, now: datetime) -> None:
    """Fail what never got to run because the process that started it died."""
    before = now - timedelta(seconds=START_SECONDS)
    stuck = Sandbox.objects.filter(status=Status.STARTING, created_at__lt=before)
    for sandbox_id in terminate_on_host(_ids(stuck), reason="requested"):
        sandbox_fail(
            sandbox_id=sandbox_id,
            reason="start_interrupted",
            detail="The server stopped while this sandbox was starting; create another.",
        )


def reconcile(*, known: set[str], now: datetime) -> None:
    """``known`` are the ids the host has, asked before the rows are read here."""
    running = Sandbox.objects.filter(status__in=(Status.RUNNING, Status.PAUSED))
    running.filter(missing_since__isnull=False, id__in=known).update(missing_since=None)
    missing = running.exclude(id__in=known).filter(started_at__lt=now)
    missing.filter(missing_since__isnull=True).update(missing_since=now)
    lost = missing.filter(missing_since__lt=now - timedelta(seconds=MISSING_SECONDS))
    for sandbox_id in _ids(lost):
        sandbox_fail(
            sandbox_id=sandbox_id,
            reason="host_lost",
            detail="The sandbox host no longer has this sandbox: it, or its machine, was stopped.",
        )
    terminate_on_host(_strays(known), reason="requested")


def _strays(known: set[str]) -> list[str]:
    """What runs on the host without a live row: nobody can reach it, and nobody pays for it."""
    rows = Sandbox.objects.filter(id__in=known).exclude(status__in=ENDED)
    return sorted(known - set(rows.values_list("id", flat=True)))[:BATCH]


def terminate_on_host(sandbox_ids: Sequence[str], *, reason: str) -> list[str]:
    """End these on the host, all at once; the ids of those that are gone now."""
    if not sandbox_ids:
        return []
    return async_to_sync(_terminate_all)(sandbox_ids, reason)


async def _terminate_all(sandbox_ids: Sequence[str], reason: str) -> list[str]:
    host = host_client()
    calls = [host.terminate(one, actor=SYSTEM, reason=reason) for one in sandbox_ids]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    gone = []
    for sandbox_id, outcome in zip(sandbox_ids, outcomes, strict=True):
        if outcome is None:
            gone.append(sandbox_id)
        else:
            logger.warning("reaper: %s could not be terminated: %s", sandbox_id, outcome)
    return gone


def _ids(rows: QuerySet[Sandbox]) -> list[str]:
    return list(rows.values_list("id", flat=True)[:BATCH])
