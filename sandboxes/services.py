"""Everything that changes sandboxes. The database is reached through short synchronous services;
what waits for the host is a coroutine and holds no transaction meanwhile."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import lru_cache
from typing import Final

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.announce import account_group, announce
from accounts.database import in_database
from accounts.ids import new_id
from accounts.origin import Origin
from accounts.policy import Principal, Scope, require
from accounts.services import audit_record
from sandboxes import allowlist, limits
from sandboxes.errors import SandboxNotFound, WrongState
from sandboxes.host.client import HostClient
from sandboxes.host.types import ExecRequest, HostError
from sandboxes.limits import SandboxRequest
from sandboxes.metrics import counted_create
from sandboxes.models import ENDED, Sandbox, Status
from sandboxes.reserving import Reserved, Wish, own_domains, sandboxes_reserve
from sandboxes.selectors import Target, sandbox_for
from sandboxes.together import Together
from sandboxes.usage.selectors import spending_of
from sandboxes.volumes import volume_place
from sandboxes.webhooks.outbox import sandbox_changed, sandboxes_changed
from timeline.events import SYSTEM, Actor, Kind, NewEvent
from timeline.services import events_append

#: Creates that are written down in one transaction.
AT_ONCE: Final = 12
_NOWHERE = Origin()
_creating: set[asyncio.Task[Sandbox]] = set()


@lru_cache
def host_client() -> HostClient:
    """The host of this installation."""
    return HostClient(settings.ORKESTR_HOST_SOCKET)


async def sandbox_create(
    *, principal: Principal, request: SandboxRequest, origin: Origin = _NOWHERE
) -> Sandbox:
    """A sandbox that runs. Raises ``SandboxError``, ``Forbidden`` and ``HostError``.

    Once begun it is finished even when the caller goes away, so that nothing runs unaccounted for.
    """
    require(principal, Scope.SANDBOXES_WRITE)
    limits.checked(request)
    own_domains(request)
    if request.network == "restricted" and request.allow_domains is None:
        await allowlist.registries_refresh(host_client())
    task = asyncio.create_task(_counted_create(principal, request, origin))
    _creating.add(task)
    task.add_done_callback(_creating.discard)
    return await asyncio.shield(task)


async def _counted_create(principal: Principal, request: SandboxRequest, origin: Origin) -> Sandbox:
    with counted_create():
        return await _create(principal, request, origin)


async def _create(principal: Principal, request: SandboxRequest, origin: Origin) -> Sandbox:
    host = host_client()
    wish = Wish(principal, request, origin)
    sandbox, spec = await _reserving.call(principal.account_id, wish)
    try:
        await volume_place(sandbox)
        await host.create(spec, actor=principal.actor)
    except HostError as error:
        await in_database(sandbox_refused, sandbox_id=sandbox.id, error=error)
        raise
    running = await _running.call(None, sandbox.id)
    if running is None:
        await host.terminate(sandbox.id, actor=principal.actor, reason="requested")
        raise WrongState("The sandbox was terminated while it was starting; create another.")
    return running


_STARTED: Final = """
UPDATE sandboxes_sandbox SET status = %s, started_at = %s WHERE id IN (
    SELECT id FROM sandboxes_sandbox WHERE id = ANY(%s) AND status = %s
    ORDER BY id FOR NO KEY UPDATE
) RETURNING *
"""


def sandbox_running(*, sandbox_id: str) -> Sandbox | None:
    """The host has it running. None when it was ended meanwhile."""
    return sandboxes_running([sandbox_id])[0]


@transaction.atomic
def sandboxes_running(sandbox_ids: Sequence[str]) -> list[Sandbox | None]:
    """The host has these running. None for one that was ended meanwhile."""
    values = [Status.RUNNING.value, timezone.now(), list(sandbox_ids), Status.STARTING.value]
    found = {sandbox.id: sandbox for sandbox in Sandbox.objects.raw(_STARTED, values)}
    sandboxes_changed(list(found.values()), was=Status.STARTING)
    for sandbox in found.values():
        _announce(sandbox)
    return [found.get(sandbox_id) for sandbox_id in sandbox_ids]


async def _reserve(wishes: Sequence[Wish]) -> Sequence[Reserved | Exception]:
    return await in_database(sandboxes_reserve, wishes)


async def _run(sandbox_ids: Sequence[str]) -> Sequence[Sandbox | None]:
    return await in_database(sandboxes_running, sandbox_ids)


_reserving: Final = Together(_reserve, most=AT_ONCE)
_running: Final = Together(_run, most=AT_ONCE)


def sandbox_refused(*, sandbox_id: str, error: HostError) -> None:
    """The host did not make it. What the caller can try again leaves no trace."""
    if error.code in {"host_full", "volume_in_use"}:
        Sandbox.objects.filter(id=sandbox_id, status=Status.STARTING).delete()
        return
    sandbox_fail(sandbox_id=sandbox_id, reason=error.code, detail=error.message)


@transaction.atomic
def sandbox_fail(*, sandbox_id: str, reason: str, detail: str) -> bool:
    """Mark a sandbox failed, with an event that says why. False when it had ended already."""
    sandbox = _end(sandbox_id, status=Status.FAILED, reason=reason, detail=detail)
    if sandbox is None:
        return False
    event = NewEvent(Kind.SANDBOX_FAILED, {"reason": reason, "detail": detail})
    events_append(sandbox_id=sandbox_id, events=[event])
    return True


@transaction.atomic
def sandbox_ended(
    *, sandbox_id: str, status: str, reason: str, detail: str = "", at: datetime | None = None
) -> bool:
    """The host ended a sandbox, and tells the timeline itself. False when the row knew already."""
    return _end(sandbox_id, status=status, reason=reason, detail=detail, at=at) is not None


def _end(
    sandbox_id: str, *, status: str, reason: str, detail: str, at: datetime | None = None
) -> Sandbox | None:
    sandbox = Sandbox.objects.select_for_update(no_key=True).filter(id=sandbox_id).first()
    if sandbox is None or sandbox.status in ENDED:
        return None
    was = sandbox.status
    sandbox.status = status
    sandbox.reason = reason[:64]
    sandbox.detail = detail
    sandbox.ended_at = at or timezone.now()
    sandbox.save(update_fields=["status", "reason", "detail", "ended_at"])
    _record_end(sandbox, was)
    sandbox_changed(sandbox, was=was)
    _announce(sandbox)
    return sandbox


#: Which rule ended a sandbox, by the reason that the host and the timeline give.
_RULES: Final = {
    "expired": "timeout",
    "paused_expired": "paused for too long",
    "usage_exhausted": "credit used up",
    "lifetime_cap_reached": "longest run",
}


def _record_end(sandbox: Sandbox, was: str) -> None:
    """What somebody asked for is recorded as theirs, by who serves them."""
    if sandbox.reason == "requested":
        return
    rule = _RULES.get(sandbox.reason)
    audit_record(
        principal=None,
        actor=Actor("policy", name=rule) if rule else SYSTEM,
        account_id=sandbox.account_id,
        action=f"sandbox.{sandbox.status}",
        target=sandbox.id,
        before={"status": was},
        after={"status": sandbox.status, "reason": sandbox.reason, "detail": sandbox.detail},
    )


async def sandbox_terminate(
    *, principal: Principal, sandbox_id: str, origin: Origin = _NOWHERE
) -> None:
    """End a sandbox for good. Idempotent. ``SandboxNotFound``, ``Forbidden``, ``HostError``."""
    require(principal, Scope.SANDBOXES_WRITE)
    sandbox = await in_database(sandbox_for, principal=principal, sandbox_id=sandbox_id)
    if sandbox.status in ENDED:
        return
    await host_client().terminate(sandbox_id, actor=principal.actor, reason="requested")
    await in_database(_terminated, principal=principal, sandbox=sandbox, origin=origin)


@transaction.atomic
def _terminated(*, principal: Principal, sandbox: Sandbox, origin: Origin) -> None:
    sandbox_ended(sandbox_id=sandbox.id, status=Status.TERMINATED, reason="requested")
    audit_record(
        principal=principal,
        action="sandbox.terminated",
        target=sandbox.id,
        before={"status": sandbox.status},
        after={"status": Status.TERMINATED},
        origin=origin,
    )


@transaction.atomic
def sandbox_set_timeout(
    *, principal: Principal, sandbox_id: str, timeout_seconds: int, origin: Origin = _NOWHERE
) -> Sandbox:
    """Restart a running sandbox's clock from now. Raises ``SandboxError`` and ``Forbidden``."""
    require(principal, Scope.SANDBOXES_WRITE)
    sandbox = _locked(principal, sandbox_id)
    check_running(Target(sandbox.id, sandbox.status, sandbox.reason), sandbox_id=sandbox_id)
    plan = sandbox.account.plan
    limits.check_timeout(timeout_seconds, plan=plan)
    limits.check_credit(plan=plan, spent=spending_of(sandbox.account_id))
    was = sandbox.expires_at
    now = timezone.now()
    sandbox.expires_at = limits.capped_expiry(
        now=now,
        started_at=sandbox.started_at or sandbox.created_at,
        seconds=timeout_seconds,
        lifetime_seconds=plan.max_running_lifetime_seconds,
    )
    sandbox.timeout_seconds = timeout_seconds
    sandbox.save(update_fields=["expires_at", "timeout_seconds"])
    events_append(sandbox_id=sandbox.id, events=[_timeout_event(sandbox, was, principal.actor)])
    audit_record(
        principal=principal,
        action="sandbox.timeout_changed",
        target=sandbox.id,
        before={"expires_at": was.isoformat()},
        after={"expires_at": sandbox.expires_at.isoformat(), "timeout_seconds": timeout_seconds},
        origin=origin,
    )
    _announce(sandbox)
    return sandbox


def _locked(principal: Principal, sandbox_id: str) -> Sandbox:
    row = (
        Sandbox.objects.select_for_update(of=("self",), no_key=True)
        .select_related("account__plan")
        .filter(id=sandbox_id.replace("\x00", ""), account_id=principal.account_id)
        .first()
    )
    if row is None:
        raise SandboxNotFound(sandbox_id)
    return row


def _timeout_event(sandbox: Sandbox, was: datetime, actor: Actor) -> NewEvent:
    data = {
        "timeout_seconds": sandbox.timeout_seconds,
        "expires_at": sandbox.expires_at.isoformat(),
        "was": was.isoformat(),
    }
    return NewEvent(Kind.SANDBOX_TIMEOUT_CHANGED, data, actor)


_WHY_NOT = {
    Status.STARTING: "The sandbox is still starting; try again in a moment.",
    Status.PAUSING: "The sandbox is being paused; resume it when that is done.",
    Status.PAUSED: "The sandbox is paused; resume it first.",
    Status.RESUMING: "The sandbox is being resumed; try again in a moment.",
    Status.FAILED: "The sandbox has failed; create another.",
    Status.TERMINATED: "The sandbox was terminated; create another.",
}

_WHY_ENDED = {
    "expired": "The sandbox was terminated because its timeout ran out; create another.",
    "paused_expired": "The sandbox was terminated because it was paused for longer than the plan "
    "keeps it; create another.",
    "usage_exhausted": "The sandbox was terminated because the account's credit is used up; "
    "change the plan.",
    "lifetime_cap_reached": "The sandbox was terminated because it had run as long as the plan "
    "allows; create another.",
}


_WHY_PAUSED = {
    "usage_exhausted": "The sandbox was paused because the account's credit is used up; change the "
    "plan, then resume it.",
    "monthly_cap_reached": "The sandbox was paused because the account has spent its cap for this "
    "month; raise it on the Usage page, then resume it.",
    "token_revoked": "The sandbox was paused when the token that made it was revoked; resume it in "
    "the console.",
    "budget_reached": "The sandbox was paused because it has cost its budget; raise that in the "
    "console, then resume it.",
}


def check_running(target: Target | None, *, sandbox_id: str) -> Target:
    """``target``, if commands and files can be had in it. ``SandboxNotFound``, ``WrongState``."""
    if target is None:
        raise SandboxNotFound(sandbox_id)
    if target.status == Status.RUNNING:
        return target
    raise WrongState(why_not(target.status, target.reason))


def why_not(status: str, reason: str) -> str:
    """The sentence for a sandbox that nothing can be done in."""
    reasons = {Status.TERMINATED: _WHY_ENDED, Status.PAUSED: _WHY_PAUSED}
    why = reasons.get(Status(status), {}).get(reason)
    return why or _WHY_NOT[Status(status)]


def exec_request(
    *, command: str, cwd: str, env: Mapping[str, str], timeout_seconds: float
) -> ExecRequest:
    """A command with an id of its own. Raises ``InvalidRequest``."""
    limits.check_command(command, env=env)
    limits.check_path(cwd, name="cwd")
    return ExecRequest(
        command_id=new_id("cmd"),
        command=command,
        cwd=cwd,
        env=env,
        timeout_seconds=timeout_seconds,
    )


def _announce(sandbox: Sandbox) -> None:
    announce(
        group=account_group(sandbox.account_id),
        message={"type": "sandbox.changed", "sandbox_id": sandbox.id},
    )
