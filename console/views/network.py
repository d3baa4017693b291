"""The Network tab: whom a sandbox reached and was kept from, and opening its network further."""

from __future__ import annotations

from typing import Any, Final

from asgiref.sync import async_to_sync
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from accounts.origin import origin_of
from accounts.policy import Principal, Scope, allows, require
from console.refusals import refusals_told
from console.signed_in import signed_in
from sandboxes.allowing import domain_allow
from sandboxes.allowlist import policy_of
from sandboxes.models import Sandbox
from sandboxes.selectors import sandbox_for
from timeline.events import Kind
from timeline.selectors import Reached, events_before, reached_hosts

PART: Final = "hosts"
_KINDS: Final = [
    kind.value for kind in (Kind.NETWORK_ALLOWED, Kind.NETWORK_DENIED, Kind.NETWORK_OPENED)
]


@require_safe
@signed_in
def network(request: HttpRequest, principal: Principal, sandbox_id: str) -> HttpResponse:
    """Hosts, verdicts, bytes. A page that asks again for what it has gets nothing."""
    require(principal, Scope.SANDBOXES_READ)
    sandbox = sandbox_for(principal=principal, sandbox_id=sandbox_id)
    newest = events_before(sandbox_id=sandbox.id, kinds=_KINDS, limit=1)
    seen = f"{newest[-1].seq if newest else 0}-{sandbox.status}"
    is_part = request.headers.get("HX-Target") == PART
    if is_part and request.GET.get("seen") == seen:
        return HttpResponse(status=204)
    template = "console/parts/hosts.html" if is_part else "console/network.html"
    return render(request, template, {**_context(principal, sandbox), "seen": seen})


def _context(principal: Principal, sandbox: Sandbox) -> dict[str, Any]:
    hosts = reached_hosts(sandbox_id=sandbox.id)
    can_allow = sandbox.network == "restricted" and not sandbox.ended
    return {
        "sandbox": sandbox,
        "hosts": [(host, _verdict(host, sandbox)) for host in hosts],
        "sums": _sums(hosts),
        "domains": sorted({rule.domain for rule in policy_of(sandbox).rules}),
        "can_allow": can_allow and allows(principal, Scope.SANDBOXES_WRITE),
    }


def _verdict(host: Reached, sandbox: Sandbox) -> str:
    """A denied host whose domain was allowed since says so."""
    if host.allowed:
        return "allowed"
    added = sandbox.added_domains
    is_open = any(host.host == name or host.host.endswith(f".{name}") for name in added)
    return "since" if host.allow and is_open else "denied"


def _sums(hosts: list[Reached]) -> dict[str, int]:
    allowed = [host for host in hosts if host.allowed]
    return {
        "hosts": len({host.host for host in allowed if host.host}),
        "connections": sum(host.count for host in allowed),
        "denied": sum(host.count for host in hosts if not host.allowed),
        "bytes_up": sum(host.bytes_up for host in allowed),
        "bytes_down": sum(host.bytes_down for host in allowed),
    }


@require_POST
@signed_in
def allow(request: HttpRequest, principal: Principal, sandbox_id: str) -> HttpResponse:
    """Open the network to one more domain."""
    with refusals_told(request):
        name = async_to_sync(domain_allow)(
            principal=principal,
            sandbox_id=sandbox_id,
            domain=request.POST.get("domain", "").strip(),
            origin=origin_of(request),
        )
        messages.success(request, f"{name} and all below it can be reached from now on.")
    return redirect("sandbox-network", sandbox_id)
