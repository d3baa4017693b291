"""What a restricted sandbox may reach: the default allowlist of rows, or a list of its own."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from asgiref.sync import async_to_sync
from django.db import transaction

from accounts.database import in_database
from accounts.models import Account
from accounts.origin import Origin
from accounts.policy import Principal, Scope, require
from accounts.selectors import account_locked
from accounts.services import account_change, audit_record
from sandboxes.errors import InvalidRequest, PlanLimit
from sandboxes.host.client import HostClient
from sandboxes.host.egress.domains import BadNameError, domain
from sandboxes.host.egress.policy import Policy, Rule
from sandboxes.host.types import HostError
from sandboxes.models import AllowedDomain, DomainSource, Sandbox

DOMAINS_MAX: Final = 200
_FRESH_SECONDS: Final = 60.0
_NOWHERE: Final = Origin()

log = logging.getLogger(__name__)


def checked_domains(names: Sequence[str]) -> list[str]:
    """A request's own allowlist in one spelling, each domain once. Raises ``InvalidRequest``."""
    if len(names) > DOMAINS_MAX:
        raise InvalidRequest(f"allow_domains may hold at most {DOMAINS_MAX} domains.")
    try:
        return list(dict.fromkeys(domain(name.replace("\x00", "␀")) for name in names))
    except BadNameError as error:
        raise InvalidRequest(f"allow_domains takes bare host names: {error}") from error


def policy_of(sandbox: Sandbox) -> Policy:
    """What ``sandbox`` may reach; nothing unless its network is restricted."""
    if sandbox.network != "restricted":
        return Policy()
    added = Policy.of(sandbox.added_domains).rules
    if sandbox.allow_domains is not None:
        return Policy((*Policy.of(sandbox.allow_domains).rules, *added))
    return Policy((*default_policy().rules, *added))


def default_policy() -> Policy:
    """The rows that are switched on. One that an operator edited into nonsense is left out."""
    return Policy(tuple(_rules(AllowedDomain.objects.filter(enabled=True))))


def _rules(rows: Iterable[AllowedDomain]) -> Iterable[Rule]:
    for row in rows:
        try:
            yield Rule(row.domain, tuple(row.ports), tuple(row.http_ports))
        except ValueError as error:
            log.warning("the allowlist's row %s is left out: %s", row.domain, error)


def default_domains() -> list[str]:
    """The domains of the default allowlist, for people to start their own from."""
    return sorted(rule.domain for rule in default_policy().rules)


def default_domains_of(account: Account) -> list[str]:
    """What the account's restricted sandboxes may reach unless they say more."""
    if account.default_domains is None or not account.plan.custom_egress_allowlist:
        return default_domains()
    return list(account.default_domains)


@transaction.atomic
def account_domains_set(
    *, principal: Principal, names: Sequence[str] | None, origin: Origin = _NOWHERE
) -> Account:
    """The account's own default, for sandboxes made from now on; None for the installation's.

    Raises ``InvalidRequest``, ``Forbidden``, and ``PlanLimit`` where the plan has no own lists.
    """
    require(principal, Scope.SETTINGS_WRITE)
    wanted = None if names is None else sorted(checked_domains(names))
    account = account_locked(principal.account_id)
    if wanted is not None and not account.plan.custom_egress_allowlist:
        raise PlanLimit(
            f"The {account.plan.name} plan does not cover allowlists of its own; change the plan.",
            reason="allow_domains",
        )
    account_change(
        account=account,
        field="default_domains",
        value=wanted,
        action="account.domains_changed",
        principal=principal,
        origin=origin,
    )
    return account


@transaction.atomic
def domains_switch(*, on: Sequence[str] = (), off: Sequence[str] = ()) -> None:
    """Switch rows of the default allowlist; a new domain is added. Raises ``InvalidRequest``."""
    wanted, unwanted = checked_domains(on), checked_domains(off)
    rows = AllowedDomain.objects.filter(domain__in=[*wanted, *unwanted])
    before = dict(rows.values_list("domain", "enabled"))
    fresh = [AllowedDomain(domain=name) for name in wanted]
    AllowedDomain.objects.bulk_create(fresh, ignore_conflicts=True)
    AllowedDomain.objects.filter(domain__in=wanted).update(enabled=True)
    if AllowedDomain.objects.filter(domain__in=unwanted).update(enabled=False) < len(unwanted):
        raise InvalidRequest("A domain to switch off is not on the list; see what is.")
    after = {**dict.fromkeys(wanted, True), **dict.fromkeys(unwanted, False)}
    if after and after != before:
        audit_record(principal=None, action="allowlist.switched", before=before, after=after)


@dataclass(slots=True)
class _Known:
    """Until when this process need not ask for the registries again, by the monotonic clock."""

    until: float = 0.0


_known = _Known()


async def registries_refresh(host: HostClient) -> None:
    """See that the rows of registries are those of the host's machine. A host away changes none."""
    if found := await _asked(host):
        await in_database(registries_store, found)


def registries_refresh_now(host: HostClient) -> None:
    """The same for code that is not a coroutine, on its own connection to the database."""
    if found := async_to_sync(_asked)(host):
        registries_store(found)


async def _asked(host: HostClient) -> tuple[Rule, ...]:
    """The machine's registries; nothing when they are known well enough, or cannot be known."""
    if time.monotonic() < _known.until:
        return ()
    try:
        found = await host.registries()
    except HostError as error:
        log.warning("the host did not say which registries it uses: %s", error.message)
        return ()
    _known.until = time.monotonic() + _FRESH_SECONDS
    return found


@transaction.atomic
def registries_store(found: Sequence[Rule]) -> None:
    """Make the rows of registries those of ``found``; what an operator switched off stays off."""
    if not found:
        return
    known = {row.domain: row for row in AllowedDomain.objects.all()}
    domains = {rule.domain for rule in found}
    gone = [row.domain for row in known.values() if row.source == DomainSource.REGISTRY]
    AllowedDomain.objects.filter(domain__in=set(gone) - domains).delete()
    fresh = [_registry_row(rule) for rule in found if rule.domain not in known]
    AllowedDomain.objects.bulk_create(fresh, ignore_conflicts=True)
    for rule in found:
        row = known.get(rule.domain)
        if row is not None and row.source == DomainSource.REGISTRY and _differs(row, rule):
            row.ports, row.http_ports = list(rule.ports), list(rule.http_ports)
            row.save(update_fields=["ports", "http_ports"])


def _registry_row(rule: Rule) -> AllowedDomain:
    return AllowedDomain(
        domain=rule.domain,
        source=DomainSource.REGISTRY,
        ports=list(rule.ports),
        http_ports=list(rule.http_ports),
    )


def _differs(row: AllowedDomain, rule: Rule) -> bool:
    return (row.ports, row.http_ports) != (list(rule.ports), list(rule.http_ports))
