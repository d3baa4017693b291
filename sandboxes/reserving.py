"""The first half of a create: rows in ``starting``, within the plan, and what the host is told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from django.conf import settings
from django.db import transaction
from django.utils import timezone

from accounts.announce import account_group, announce
from accounts.models import AuditEntry, Size
from accounts.origin import Origin
from accounts.policy import Forbidden, Principal
from accounts.services import audit_entry
from sandboxes import allowlist, limits
from sandboxes.errors import SandboxError
from sandboxes.host.types import CreateSpec
from sandboxes.limits import SandboxRequest
from sandboxes.models import Sandbox, Volume, new_sandbox_id
from sandboxes.offers import Offer, offer_locked
from sandboxes.selectors import live_count
from sandboxes.usage.selectors import spending_of
from sandboxes.volumes import volume_claimed

NODE: str = "local"
_NOWHERE = Origin()


@dataclass(frozen=True, slots=True)
class Wish:
    """One create: who wants what, from where."""

    principal: Principal
    request: SandboxRequest
    origin: Origin = _NOWHERE


Reserved = tuple[Sandbox, CreateSpec]


def sandbox_reserve(
    *, principal: Principal, request: SandboxRequest, origin: Origin = _NOWHERE
) -> Reserved:
    """One row. Raises ``SandboxError`` and ``Forbidden``."""
    (found,) = sandboxes_reserve([Wish(principal, request, origin)])
    if isinstance(found, Exception):
        raise found
    return found


@transaction.atomic
def sandboxes_reserve(wishes: Sequence[Wish]) -> list[Reserved | Exception]:
    """A row for each wish of one account in turn, or why not: ``SandboxError``, ``Forbidden``.

    The account's row is locked while its live ones are counted, so that any number of creates at
    once end up at the cap and not beyond it.
    """
    account_id = wishes[0].principal.account_id
    spent = spending_of(account_id)
    offer = offer_locked(account_id)
    live = live_count(account_id)
    rows: list[Sandbox] = []
    answers: list[Reserved | Exception] = []
    for wish in wishes:
        try:
            limits.check_credit(plan=offer.plan, spent=spent)
            reserved = _reserve(wish, offer, live=live + len(rows))
        except (SandboxError, Forbidden) as error:
            answers.append(error)
        else:
            rows.append(reserved[0])
            answers.append(reserved)
    Sandbox.objects.bulk_create([row for row in rows if row._state.adding])
    told = zip(wishes, answers, strict=True)
    made = [(wish, answer[0]) for wish, answer in told if not isinstance(answer, Exception)]
    AuditEntry.objects.bulk_create([_entry(wish, sandbox) for wish, sandbox in made])
    for _, sandbox in made:
        group = account_group(sandbox.account_id)
        announce(group=group, message={"type": "sandbox.changed", "sandbox_id": sandbox.id})
    return answers


def _reserve(wish: Wish, offer: Offer, *, live: int) -> Reserved:
    """A row that is still to be written, unless it holds a volume."""
    plan, request = offer.plan, wish.request
    size = limits.size_for(request, menu=offer.menu, plan=plan, allowed=offer.allowed)
    limits.check_plan(request, plan=plan, live=live)
    if request.volume is None:
        sandbox = Sandbox(**_fields(wish, size, offer, None))
    else:
        sandbox = _holding(wish, size, offer)
    spec = _spec(sandbox, size, request.env, snapshot=request.snapshot)
    return sandbox, replace(spec, masking=offer.masking)


@transaction.atomic
def _holding(wish: Wish, size: Size, offer: Offer) -> Sandbox:
    """Written at once: the next wish may name the same volume, and is to be refused."""
    volume = volume_claimed(
        principal=wish.principal, wanted=wish.request.volume, plan=offer.plan, origin=wish.origin
    )
    return Sandbox.objects.create(**_fields(wish, size, offer, volume))


def _entry(wish: Wish, sandbox: Sandbox) -> AuditEntry:
    """Names of variables and metadata are on the sandbox's own page."""
    names = ("template", "size", "network", "isolation", "timeout_seconds", "on_timeout")
    return audit_entry(
        principal=wish.principal,
        action="sandbox.created",
        target=sandbox.id,
        after={name: getattr(sandbox, name) for name in names},
        origin=wish.origin,
    )


def _fields(wish: Wish, size: Size, offer: Offer, volume: Volume | None) -> dict[str, object]:
    principal, request, plan = wish.principal, wish.request, offer.plan
    now = timezone.now()
    expires_at = limits.capped_expiry(
        now=now,
        started_at=now,
        seconds=request.timeout_seconds,
        lifetime_seconds=plan.max_running_lifetime_seconds,
    )
    return {
        "id": new_sandbox_id(),
        "account_id": principal.account_id,
        "token_id": principal.token_id,
        "actor": principal.actor.to_json(),
        "template": limits.template_name(request.template),
        "size": size.name,
        "cpu": size.cpu,
        "memory_mb": size.memory_mb,
        "disk_mb": size.disk_mb,
        "network": request.network,
        "isolation": limits.isolation_for(request, plan=plan, default=settings.ORKESTR_ISOLATION),
        "allow_domains": _domains(request, offer),
        "region": limits.REGION,
        "node_id": NODE,
        "timeout_seconds": request.timeout_seconds,
        "on_timeout": request.on_timeout,
        "auto_resume": request.auto_resume,
        "preview_auth": request.preview_auth,
        "budget_eur": limits.budget_of(request),
        "env_names": sorted(request.env),
        "metadata": dict(request.metadata),
        "volume": volume,
        "volume_name": volume.name if volume else "",
        "created_at": now,
        "expires_at": expires_at,
    }


def _domains(request: SandboxRequest, offer: Offer) -> list[str] | None:
    """Those asked for, else the account's own default; null for the installation's."""
    asked = own_domains(request)
    return offer.domains if asked is None and request.network == "restricted" else asked


def own_domains(request: SandboxRequest) -> list[str] | None:
    names = limits.own_domains(request)
    return None if names is None else allowlist.checked_domains(names)


def _spec(
    sandbox: Sandbox, size: Size, env: Mapping[str, str], *, snapshot: str | None
) -> CreateSpec:
    return CreateSpec(
        sandbox_id=sandbox.id,
        template=sandbox.template,
        size=size.name,
        cpu=float(size.cpu),
        memory_mb=size.memory_mb,
        disk_mb=size.disk_mb,
        pids=size.pids,
        network=sandbox.network,
        timeout_seconds=sandbox.timeout_seconds,
        expires_at=sandbox.expires_at.isoformat(),
        on_timeout=sandbox.on_timeout,
        env=env,
        metadata=sandbox.metadata,
        rules=allowlist.policy_of(sandbox).to_json(),
        snapshot=snapshot or "",
        volume=sandbox.volume_id or "",
        volume_name=sandbox.volume_name,
        isolation=sandbox.isolation,
    )
