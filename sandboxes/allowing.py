"""Opening a running sandbox's restricted network to one more domain."""

from __future__ import annotations

from typing import Final

from django.db import transaction

from accounts.database import in_database
from accounts.models import Account
from accounts.origin import Origin
from accounts.policy import Principal, Scope, require
from accounts.services import audit_record
from sandboxes.allowlist import DOMAINS_MAX, checked_domains
from sandboxes.errors import InvalidRequest, PlanLimit, WrongState
from sandboxes.models import Sandbox
from sandboxes.selectors import sandbox_for
from sandboxes.services import host_client, why_not
from timeline.events import Kind, NewEvent
from timeline.services import events_append

_NOWHERE: Final = Origin()


async def domain_allow(
    *, principal: Principal, sandbox_id: str, domain: str, origin: Origin = _NOWHERE
) -> str:
    """Let a sandbox reach a domain and all below it from now on; the domain as it is spelled.

    Once is enough: what is allowed already changes nothing. Raises ``SandboxError``, ``Forbidden``
    and ``HostError``.
    """
    require(principal, Scope.SANDBOXES_WRITE)
    (name,) = checked_domains([domain])
    await in_database(_check, principal=principal, sandbox_id=sandbox_id)
    await host_client().allow(sandbox_id, name)
    await in_database(
        _allowed, principal=principal, sandbox_id=sandbox_id, name=name, origin=origin
    )
    return name


def _check(*, principal: Principal, sandbox_id: str) -> None:
    sandbox = sandbox_for(principal=principal, sandbox_id=sandbox_id)
    if sandbox.network != "restricted":
        raise InvalidRequest(
            f"The network of this sandbox is {sandbox.network}; only a restricted one has a list."
        )
    if sandbox.ended:
        raise WrongState(why_not(sandbox.status, sandbox.reason))
    if len(sandbox.added_domains) >= DOMAINS_MAX:
        raise InvalidRequest(f"At most {DOMAINS_MAX} domains can be added to one sandbox.")
    plan = Account.objects.select_related("plan").get(id=sandbox.account_id).plan
    if not plan.custom_egress_allowlist:
        raise PlanLimit(
            f"The {plan.name} plan does not cover allowlists of its own; change the plan.",
            reason="allow_domains",
        )


@transaction.atomic
def _allowed(*, principal: Principal, sandbox_id: str, name: str, origin: Origin) -> None:
    row = Sandbox.objects.select_for_update(no_key=True).get(
        id=sandbox_id, account_id=principal.account_id
    )
    if name in (*row.added_domains, *(row.allow_domains or ())):
        return
    before = list(row.added_domains)
    row.added_domains = [*before, name]
    row.save(update_fields=["added_domains"])
    audit_record(
        principal=principal,
        action="sandbox.domain_allowed",
        target=sandbox_id,
        before={"added_domains": before},
        after={"added_domains": row.added_domains},
        origin=origin,
    )
    event = NewEvent(Kind.NETWORK_OPENED, {"domain": name}, principal.actor)
    events_append(sandbox_id=sandbox_id, events=[event])
