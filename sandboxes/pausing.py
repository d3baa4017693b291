"""Pausing sandboxes and waking them. What can happen to a sandbox at once happens to its row:
whoever turns it (``turns``) to ``pausing`` or ``resuming`` asks the host, everybody else is told to
wait."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Coroutine
from typing import Any, Final

from accounts.database import in_database
from accounts.models import AuditEntry
from accounts.origin import Origin
from accounts.policy import Principal, Scope, allows, require
from accounts.services import audit_entry
from sandboxes.errors import WrongState
from sandboxes.host.types import HostError, PausedSandbox
from sandboxes.models import Sandbox, Status
from sandboxes.selectors import Target
from sandboxes.services import check_running, host_client
from sandboxes.turns import pause_begin, pause_end, resume_begin, resume_end, turn_failed
from timeline.events import Actor

WAKE_SECONDS: Final = 30.0
_LOOK_SECONDS: Final = 0.05
_NOWHERE = Origin()
#: What a pause and a resume make of a sandbox, for the audit record.
_TURNS: Final = {
    "sandbox.paused": (Status.RUNNING, Status.PAUSED),
    "sandbox.resumed": (Status.PAUSED, Status.RUNNING),
}
_turning: set[asyncio.Task[Sandbox]] = set()


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
    entry = _entry(principal, "sandbox.paused", sandbox.id, origin)
    return await in_database(pause_end, sandbox=sandbox, kept=kept, entry=entry)


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
    entry = _entry(principal, "sandbox.resumed", sandbox.id, origin)
    return await in_database(resume_end, sandbox_id=sandbox.id, entry=entry)


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


def _entry(principal: Principal, action: str, sandbox_id: str, origin: Origin) -> AuditEntry:
    was, now = _TURNS[action]
    return audit_entry(
        principal=principal,
        action=action,
        target=sandbox_id,
        before={"status": was},
        after={"status": now},
        origin=origin,
    )
