"""Holding a run: an operator pauses it and says why; no token can let it go on, people can."""

from __future__ import annotations

from django.db import transaction
from django.utils import timezone

from accounts.announce import account_group, announce
from accounts.database import in_database
from accounts.origin import Origin
from accounts.policy import Forbidden, Principal, Scope, require
from accounts.services import audit_record
from sandboxes.errors import SandboxError, WrongState
from sandboxes.host.types import HostError
from sandboxes.models import Sandbox, Status
from sandboxes.notes import checked_text, note_write
from sandboxes.pausing import sandbox_pause, sandbox_resume
from sandboxes.selectors import sandbox_for

_NOWHERE = Origin()


async def sandbox_hold(
    *, principal: Principal, sandbox_id: str, text: str = "", origin: Origin = _NOWHERE
) -> Sandbox:
    """Pause it for a person, who may say why. Raises as ``sandbox_pause`` does.

    It is held before it stands still, so that nothing wakes it in between; when it cannot be
    paused it is not held either.
    """
    _person(principal)
    text = checked_text(text, required=False)
    paused = await in_database(_take, principal=principal, sandbox_id=sandbox_id)
    try:
        if not paused:
            await sandbox_pause(principal=principal, sandbox_id=sandbox_id, origin=origin)
    except (SandboxError, HostError):
        await in_database(_drop, sandbox_id=sandbox_id)
        raise
    return await in_database(
        _told, principal=principal, sandbox_id=sandbox_id, text=text, hold="held", origin=origin
    )


async def sandbox_release(
    *, principal: Principal, sandbox_id: str, text: str = "", origin: Origin = _NOWHERE
) -> Sandbox:
    """Let a held run go on; whoever may write may. Raises as ``sandbox_resume`` does."""
    _person(principal)
    text = checked_text(text, required=False)
    found = await in_database(sandbox_for, principal=principal, sandbox_id=sandbox_id)
    if found.holder is None:
        raise WrongState("Nobody holds this run any more.")
    await sandbox_resume(principal=principal, sandbox_id=sandbox_id, origin=origin)
    return await in_database(
        _told, principal=principal, sandbox_id=sandbox_id, text=text, hold="released", origin=origin
    )


def _person(principal: Principal) -> None:
    require(principal, Scope.SANDBOXES_WRITE)
    if principal.user_id is None:
        raise Forbidden("Only people hold runs; a token pauses and resumes.")


@transaction.atomic
def _take(*, principal: Principal, sandbox_id: str) -> bool:
    """Write down who holds it; returns whether it stands still already. Raises ``SandboxError``."""
    sandbox_for(principal=principal, sandbox_id=sandbox_id)
    sandbox = Sandbox.objects.select_for_update(no_key=True).get(id=sandbox_id)
    if sandbox.holder is not None:
        raise WrongState(f"{sandbox.holder.name or 'Somebody'} holds this run already.")
    if sandbox.status not in (Status.RUNNING, Status.PAUSED):
        raise WrongState(f"A run that is {sandbox.get_status_display().lower()} cannot be held.")
    sandbox.held_by, sandbox.held_at = principal.actor.to_json(), timezone.now()
    sandbox.save(update_fields=["held_by", "held_at"])
    return sandbox.status == Status.PAUSED


def _drop(*, sandbox_id: str) -> None:
    Sandbox.objects.filter(id=sandbox_id).update(held_by=None, held_at=None)


@transaction.atomic
def _told(
    *, principal: Principal, sandbox_id: str, text: str, hold: str, origin: Origin
) -> Sandbox:
    sandbox = sandbox_for(principal=principal, sandbox_id=sandbox_id)
    audit_record(
        principal=principal,
        action=f"sandbox.{hold}",
        target=sandbox_id,
        after={"note": text} if text else None,
        origin=origin,
    )
    announce(
        group=account_group(sandbox.account_id),
        message={"type": "sandbox.changed", "sandbox_id": sandbox_id},
    )
    note_write(sandbox=sandbox, actor=principal.actor, text=text, hold=hold)
    return sandbox
