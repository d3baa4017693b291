"""Pausing sandboxes and waking them. What can happen to a sandbox at once happens to its row:
whoever moves it to ``pausing`` or ``resuming`` asks the host, everybody else is told to wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from django.db import transaction
from django.utils import timezone

from accounts.announce import account_group, announce
from accounts.database import in_database
from accounts.ids import new_id
from accounts.models import Account
from accounts.origin import Origin
from accounts.policy import Principal, Scope, allows, require
from accounts.services import audit_record
from sandboxes import limits
from sandboxes.errors import SandboxNotFound, WrongState
from sandboxes.host.client import PausedSandbox
from sandboxes.host.types import HostError
from sandboxes.models import Sandbox, Status
from sandboxes.selectors import SANDBOX_ID, Target, live_count, paused_count
from sandboxes.services import check_running, host_client, why_not
from sandboxes.usage.selectors import run_eur, spending_of
from sandboxes.webhooks.outbox import sandbox_changed
from timeline.events import Actor

WAKE_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.05
_NOWHERE = Origin()
_NEVER: Final = datetime.fromtimestamp(0, tz=UTC)
#: What a pause and a resume make of a sandbox, for the audit record.
_TURNS: Final = {
    "sandbox.paused": (Status.RUNNING, Status.PAUSED),
    "sandbox.resumed": (Status.PAUSED, Status.RUNNING),
}
_turning: set[asyncio.Task[Sandbox]] = set()

_NOT_NOW: Final = {
    Status.PAUSED: "The sandbox is paused already; resume it to work in it.",
    Status.PAUSING: "The sandbox is being paused already; resume it when that is done.",
}
_NOT_ASLEEP: Final = {
    Status.RUNNING: "The sandbox is not paused; it runs.",
    Status.RESUMING: "The sandbox is being resumed already; try again in a moment.",
}


async def sandbox_pause(
    *, principal: Principal, sandbox_id: str, origin: Origin = _NOWHERE
) -> Sandbox:
    """A sandbox that stands still. Raises ``SandboxError``, ``Forbidden`` and ``HostError``.

    Once begun it is finished even when the caller goes away.
    """
    require(principal, Scope.SANDBOXES_WRITE)
    return await _finished(_pause(principal, sandbox_id, origin))


async def _pause(principal: Principal, sandbox_id: str, origin: Origin) -> Sandbox:
    account_id = principal.account_id
    sandbox = await in_database(pause_begin, account_id=account_id, sandbox_id=sandbox_id)
    actor = principal.actor
    try:
        kept = await host_pause(sandbox, actor=actor, reason="requested")
    except HostError as error:
        await in_database(turn_failed, sandbox_id=sandbox.id, error=error)
        raise
    await _audit(principal, "sandbox.paused", sandbox, origin)
    return await in_database(pause_end, sandbox_id=sandbox.id, kept=kept)


async def host_pause(sandbox: Sandbox, *, actor: Actor, reason: str) -> PausedSandbox:
    """What the pause keeps. Raises ``HostError``."""
    return await host_client().pause(
        sandbox.id, snapshot_id=sandbox.snapshot_id, reason=reason, actor=actor
    )


async def sandbox_resume(
    *,
    principal: Principal,
    sandbox_id: str,
    origin: Origin = _NOWHERE,
    reason: str = "requested",
) -> Sandbox:
    """A paused sandbox that runs again, with a fresh timeout. Raises as ``sandbox_pause`` does."""
    require(principal, Scope.SANDBOXES_WRITE)
    return await _finished(_resume(principal, sandbox_id, origin, reason))


async def _resume(principal: Principal, sandbox_id: str, origin: Origin, reason: str) -> Sandbox:
    account_id = principal.account_id
    sandbox = await in_database(
        resume_begin,
        account_id=account_id,
        sandbox_id=sandbox_id,
        through_hold=principal.user_id is not None,
    )
    try:
        await host_client().resume(
            sandbox.id,
            reason=reason,
            timeout_seconds=sandbox.timeout_seconds,
            expires_at=sandbox.expires_at.isoformat(),
            actor=principal.actor,
        )
    except HostError as error:
        await in_database(turn_failed, sandbox_id=sandbox.id, error=error)
        raise
    await _audit(principal, "sandbox.resumed", sandbox, origin)
    return await in_database(resume_end, sandbox_id=sandbox.id)


async def sandbox_awake(
    *, principal: Principal, target: Target | None, sandbox_id: str, origin: Origin = _NOWHERE
) -> Target:
    """``target`` once it can be worked in; one with ``auto_resume`` is woken for that.

    A principal that may not resume it does not wake it. Raises as ``sandbox_resume`` does.
    """
    asleep = (Status.PAUSING, Status.PAUSED, Status.RESUMING)
    if target is None or not target.auto_resume or target.status not in asleep:
        return check_running(target, sandbox_id=sandbox_id)
    if not allows(principal, Scope.SANDBOXES_WRITE):
        return check_running(target, sandbox_id=sandbox_id)
    deadline = time.monotonic() + WAKE_SECONDS
    while target.status != Status.RUNNING:
        try:
            await sandbox_resume(
                principal=principal, sandbox_id=target.id, origin=origin, reason="auto_resume"
            )
        except WrongState:
            target = await in_database(_target, target.id)
            if target.status not in (*asleep, Status.RUNNING) or time.monotonic() > deadline:
                raise
            await asyncio.sleep(_LOOK_SECONDS)
        else:
            break
    return Target(target.id, Status.RUNNING, "", auto_resume=True)


def _target(sandbox_id: str) -> Target:
    row = Sandbox.objects.get(id=sandbox_id)
    return Target(row.id, row.status, row.reason, row.auto_resume)


async def _finished(work: Coroutine[Any, Any, Sandbox]) -> Sandbox:
    task = asyncio.create_task(work)
    _turning.add(task)
    task.add_done_callback(_turning.discard)
    return await asyncio.shield(task)


@transaction.atomic
def pause_begin(
    *, account_id: str, sandbox_id: str, beyond_cap: bool = False, reason: str = ""
) -> Sandbox:
    """Its row in ``pausing``, within the plan's cap. Raises ``SandboxError``.

    ``reason`` is the rule's that pauses it; empty when it was asked for or its time was over.

    The account's row is locked while its paused ones are counted, as for a create.
    """
    account, sandbox = _locked(account_id, sandbox_id)
    if sandbox.status != Status.RUNNING:
        reason = _NOT_NOW.get(Status(sandbox.status)) or why_not(sandbox.status, sandbox.reason)
        raise WrongState(reason)
    if not beyond_cap:
        limits.check_snapshots(plan=account.plan, kept=paused_count(account_id))
    sandbox.snapshot_id = new_id("snap")
    sandbox.reason = reason
    _turn(sandbox, Status.PAUSING, "snapshot_id", "reason")
    return sandbox


@transaction.atomic
def pause_end(*, sandbox_id: str, kept: PausedSandbox) -> Sandbox:
    """The host holds it still. Raises ``WrongState`` when it was ended meanwhile."""
    sandbox = (
        Sandbox.objects.select_for_update(of=("self",))
        .select_related("account__plan")
        .get(id=sandbox_id)
    )
    if sandbox.status != Status.PAUSING:
        raise WrongState("The sandbox was ended while it was being paused; create another.")
    paused(sandbox, kept=kept)
    return sandbox


def paused(sandbox: Sandbox, *, kept: PausedSandbox | None) -> None:
    """Note that a locked row's sandbox stands still, and how much is kept where that is known."""
    now, days = timezone.now(), sandbox.account.plan.paused_days
    sandbox.paused_at = now
    sandbox.paused_expires_at = None if days is None else now + timedelta(days=days)
    if kept is not None:
        sandbox.snapshot_size_mb = kept.size_mb
    sandbox.survives_machine_restart = kept is not None and kept.is_saved
    sandbox.why_unsaved = kept.unsaved if kept is not None else ""
    dates = ("paused_at", "paused_expires_at")
    what = ("snapshot_size_mb", "survives_machine_restart", "why_unsaved")
    _turn(sandbox, Status.PAUSED, *dates, *what)


@transaction.atomic
def resume_begin(*, account_id: str, sandbox_id: str, through_hold: bool = False) -> Sandbox:
    """Its row in ``resuming``, admitted as a new sandbox would be. Raises ``SandboxError``.

    One that a person holds is let go by people only: ``through_hold``.
    """
    account, sandbox = _locked(account_id, sandbox_id)
    if sandbox.holder is not None and not through_hold and not sandbox.ended:
        name = sandbox.holder.name or "An operator"
        raise WrongState(f"{name} holds this run; it goes on when it is let go in the console.")
    if sandbox.status != Status.PAUSED:
        reason = _NOT_ASLEEP.get(Status(sandbox.status)) or why_not(sandbox.status, sandbox.reason)
        raise WrongState(reason)
    plan = account.plan
    limits.check_concurrency(plan=plan, live=live_count(account_id))
    limits.check_credit(plan=plan, spent=spending_of(account_id))
    limits.check_run_budget(budget_eur=sandbox.budget_eur, spent_eur=run_eur(sandbox.id))
    now = timezone.now()
    sandbox.expires_at = limits.capped_expiry(
        now=now,
        started_at=now,
        seconds=sandbox.timeout_seconds,
        lifetime_seconds=plan.max_running_lifetime_seconds,
    )
    _turn(sandbox, Status.RESUMING, "expires_at")
    return sandbox


@transaction.atomic
def resume_end(*, sandbox_id: str) -> Sandbox:
    """The host let it go on. Raises ``WrongState`` when it was ended meanwhile."""
    sandbox = Sandbox.objects.select_for_update().get(id=sandbox_id)
    if sandbox.status != Status.RESUMING:
        raise WrongState("The sandbox was ended while it was being resumed; create another.")
    resumed(sandbox)
    return sandbox


def resumed(sandbox: Sandbox) -> None:
    """Note that a locked row's sandbox runs; its longest run counts from here."""
    sandbox.started_at = timezone.now()
    sandbox.held_by = sandbox.held_at = None
    sandbox.reason = ""
    _turn(sandbox, Status.RUNNING, "started_at", "held_by", "held_at", "reason")


@transaction.atomic
def turn_failed(*, sandbox_id: str, error: HostError) -> None:
    """Back to where it was. A host that did not answer may have done it: the reaper asks it."""
    sandbox = Sandbox.objects.select_for_update().get(id=sandbox_id)
    before = {Status.PAUSING: Status.RUNNING, Status.RESUMING: Status.PAUSED}
    if sandbox.status not in before:
        return
    if error.code == "host_unreachable":
        Sandbox.objects.filter(id=sandbox_id).update(turned_at=_NEVER)
        return
    if sandbox.status == Status.PAUSING:
        sandbox.reason = ""
    _turn(sandbox, before[Status(sandbox.status)], "reason")


def _locked(account_id: str, sandbox_id: str) -> tuple[Account, Sandbox]:
    """Both rows, always in this order. Raises ``SandboxNotFound``."""
    if not SANDBOX_ID.fullmatch(sandbox_id):
        raise SandboxNotFound(sandbox_id)
    accounts = Account.objects.select_for_update(of=("self",)).select_related("plan")
    account = accounts.get(id=account_id)
    rows = Sandbox.objects.select_for_update().filter(id=sandbox_id, account_id=account_id)
    sandbox = rows.first()
    if sandbox is None:
        raise SandboxNotFound(sandbox_id)
    return account, sandbox


def _turn(sandbox: Sandbox, status: Status, *fields: str) -> None:
    was, sandbox.status = sandbox.status, status
    sandbox.turned_at = timezone.now()
    sandbox.save(update_fields=["status", "turned_at", *fields])
    sandbox_changed(sandbox, was=was)
    announce(
        group=account_group(sandbox.account_id),
        message={"type": "sandbox.changed", "sandbox_id": sandbox.id},
    )


async def _audit(principal: Principal, action: str, sandbox: Sandbox, origin: Origin) -> None:
    was, now = _TURNS[action]
    await in_database(
        audit_record,
        principal=principal,
        action=action,
        target=sandbox.id,
        before={"status": was},
        after={"status": now},
        origin=origin,
    )
