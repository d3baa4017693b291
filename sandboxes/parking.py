"""The reaper's part of pausing: parks what has run out of time, ends what was kept for too long,
and follows the host where a pause or a resume was cut off in the middle."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from asgiref.sync import async_to_sync
from django.db import transaction

from accounts.services import audit_entry
from sandboxes.errors import SandboxError, SnapshotCap
from sandboxes.host.types import HostError, PausedSandbox
from sandboxes.models import Sandbox, Status
from sandboxes.pausing import host_pause
from sandboxes.turns import pause_begin, pause_end, paused, resumed, turn_failed
from timeline.events import SYSTEM, Actor

logger = logging.getLogger(__name__)

TURN_SECONDS: Final = 75
"""Longer than any call of the host may take: whoever began to pause or resume it is gone."""

SETTLED_SECONDS: Final = 10
"""How long a row must have stood as it does before the host's word counts for more."""


@dataclass(frozen=True, slots=True)
class Rule:
    """Which rule pauses, as events and the audit record name it. ``always``: also where the plan
    keeps as many paused ones as it will. ``reason`` is kept in the row where people can mend it."""

    word: str
    policy: str
    actor: Actor
    always: bool = False

    @property
    def reason(self) -> str:
        return "" if self == TIMEOUT else self.word


TIMEOUT: Final = Rule("timeout", "timeout", SYSTEM)


def park(due: Sequence[Sandbox], *, rule: Rule = TIMEOUT) -> list[str]:
    """Pause these; the ids of those that cannot be paused and have to end instead."""
    begun, others = [], []
    for sandbox in due:
        try:
            begun.append(_begin(sandbox, rule))
        except SnapshotCap:
            others.append(sandbox.id)
        except SandboxError:
            continue  # somebody paused or ended it meanwhile
    outcomes = async_to_sync(_pause_all)(begun, rule) if begun else []
    for sandbox, outcome in zip(begun, outcomes, strict=True):
        if _end(sandbox, outcome, rule):
            others.append(sandbox.id)
    return others


def _begin(sandbox: Sandbox, rule: Rule) -> Sandbox:
    return pause_begin(
        account_id=sandbox.account_id,
        sandbox_id=sandbox.id,
        beyond_cap=rule.always or sandbox.account.plan.pauses_beyond_cap,
        reason=rule.reason,
    )


async def _pause_all(
    sandboxes: Sequence[Sandbox], rule: Rule
) -> list[PausedSandbox | BaseException]:
    calls = [host_pause(one, actor=rule.actor, reason=rule.word) for one in sandboxes]
    return list(await asyncio.gather(*calls, return_exceptions=True))


def _end(sandbox: Sandbox, outcome: PausedSandbox | BaseException, rule: Rule) -> bool:
    """Note what became of it; whether it has to end instead."""
    if isinstance(outcome, PausedSandbox):
        try:
            _parked(sandbox, outcome, rule)
        except SandboxError:
            logger.info("%s was ended while it was being paused", sandbox.id)
        return False
    if not isinstance(outcome, HostError):
        raise outcome
    logger.warning("%s could not be paused (%s): %s", sandbox.id, rule.word, outcome.message)
    turn_failed(sandbox_id=sandbox.id, error=outcome)
    return outcome.code != "host_unreachable"


def _parked(sandbox: Sandbox, kept: PausedSandbox, rule: Rule) -> None:
    entry = audit_entry(
        principal=None,
        actor=rule.actor if rule.actor.type == "person" else Actor("policy", name=rule.policy),
        account_id=sandbox.account_id,
        action="sandbox.paused",
        target=sandbox.id,
        before={"status": Status.RUNNING},
        after={"status": Status.PAUSED, "reason": rule.word},
    )
    pause_end(sandbox=sandbox, kept=kept, entry=entry)


def follow_host(*, statuses: Mapping[str, str], now: datetime) -> None:
    """``statuses`` are the host's, asked before the rows are read here."""
    turning = Sandbox.objects.filter(
        status__in=(Status.PAUSING, Status.RESUMING),
        turned_at__lt=now - timedelta(seconds=TURN_SECONDS),
    )
    settled = Sandbox.objects.filter(
        status__in=(Status.RUNNING, Status.PAUSED),
        turned_at__lt=now - timedelta(seconds=SETTLED_SECONDS),
    )
    is_paused = [one for one, status in statuses.items() if status == "paused"]
    differ = [
        *turning.filter(id__in=statuses),
        *settled.filter(status=Status.RUNNING, id__in=is_paused),
        *settled.filter(status=Status.PAUSED, id__in=set(statuses) - set(is_paused)),
    ]
    for sandbox in differ:
        _follow(sandbox.id, seen=sandbox, host_status=statuses[sandbox.id])
    turning.exclude(id__in=statuses).update(status=Status.RUNNING)  # and is then found missing


@transaction.atomic
def _follow(sandbox_id: str, *, seen: Sandbox, host_status: str) -> None:
    rows = Sandbox.objects.select_for_update(of=("self",), no_key=True).select_related(
        "account__plan"
    )
    sandbox = rows.get(id=sandbox_id)
    if (sandbox.status, sandbox.turned_at) != (seen.status, seen.turned_at):
        return
    logger.warning("%s is %s, its host has it %s", sandbox.id, sandbox.status, host_status)
    if host_status == "paused":
        paused(sandbox)
    else:
        resumed(sandbox)
