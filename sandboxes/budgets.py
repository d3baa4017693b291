"""What runs and months may cost, as people set it. Enforcing it is the part of ``caps``."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

from django.db import transaction

from accounts.announce import account_group, announce
from accounts.origin import Origin
from accounts.policy import Forbidden, Principal, Scope, require
from accounts.selectors import account_locked
from accounts.services import audit_record
from sandboxes.errors import InvalidRequest, SandboxNotFound, WrongState
from sandboxes.limits import check_budget
from sandboxes.models import Sandbox
from sandboxes.usage.models import Cap
from timeline.events import Kind, NewEvent
from timeline.services import events_append

CAP_MAX: Final = Decimal(10_000_000)
_NOWHERE: Final = Origin()


@transaction.atomic
def sandbox_set_budget(
    *,
    principal: Principal,
    sandbox_id: str,
    budget_eur: Decimal | None,
    origin: Origin = _NOWHERE,
) -> Sandbox:
    """What a run may cost from its begin on; None for as much as it likes.

    People only: what an agent may spend is not for its token to say. A run that its budget has
    paused is resumed by whoever resumes it. Raises ``SandboxError`` and ``Forbidden``.
    """
    require(principal, Scope.SANDBOXES_WRITE)
    if principal.user_id is None:
        raise Forbidden("A person sets a run's budget, in the console.")
    rows = Sandbox.objects.select_for_update(no_key=True).filter(account_id=principal.account_id)
    sandbox = rows.filter(id=sandbox_id.replace("\x00", "")).first()
    if sandbox is None:
        raise SandboxNotFound(sandbox_id)
    if sandbox.ended:
        raise WrongState("The sandbox has ended; it costs nothing more.")
    was = sandbox.budget_eur
    sandbox.budget_eur = None if budget_eur is None else check_budget(budget_eur)
    sandbox.save(update_fields=["budget_eur"])
    data = {"budget_eur": money(sandbox.budget_eur), "was": money(was)}
    event = NewEvent(Kind.SANDBOX_BUDGET_CHANGED, data, principal.actor)
    events_append(sandbox_id=sandbox.id, events=[event])
    audit_record(
        principal=principal,
        action="sandbox.budget_changed",
        target=sandbox.id,
        before={"budget_eur": money(was)},
        after={"budget_eur": money(sandbox.budget_eur)},
        origin=origin,
    )
    announce(
        group=account_group(sandbox.account_id),
        message={"type": "sandbox.changed", "sandbox_id": sandbox.id},
    )
    return sandbox


@transaction.atomic
def cap_set(
    *, principal: Principal, monthly_eur: Decimal | None, origin: Origin = _NOWHERE
) -> None:
    """What the account may spend in a month; None for no cap. ``Forbidden``, ``InvalidRequest``."""
    require(principal, Scope.PLAN_WRITE)
    if monthly_eur is not None and not Decimal("0.01") <= monthly_eur <= CAP_MAX:
        raise InvalidRequest(f"A cap is between 0.01 and {CAP_MAX} EUR a month.")
    account_locked(principal.account_id)
    row = Cap.objects.filter(account_id=principal.account_id).first()
    was = row.monthly_eur if row else None
    if monthly_eur is None:
        Cap.objects.filter(account_id=principal.account_id).delete()
    else:
        values = {"monthly_eur": monthly_eur}
        Cap.objects.update_or_create(account_id=principal.account_id, defaults=values)
    audit_record(
        principal=principal,
        action="account.cap_changed",
        target=principal.account_id,
        before={"monthly_eur": money(was)},
        after={"monthly_eur": money(monthly_eur)},
        origin=origin,
    )


def money(eur: Decimal | None) -> str | None:
    """As events and the audit record have it: 0.5, not 0.5000."""
    return None if eur is None else f"{eur.normalize():f}"
