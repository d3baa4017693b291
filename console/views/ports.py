"""The ports that are listened on in a sandbox, as links that open in a browser."""

from __future__ import annotations

from dataclasses import dataclass

from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.policy import Principal, Scope, require
from console.preview.app import port_client
from console.refusals import refusals
from console.signed_in import signed_in
from sandboxes.models import Sandbox, Status
from sandboxes.previews import check_previews, name_of, preview_link
from sandboxes.selectors import sandbox_for

#: A sandbox may listen on thousands; so many are a list that can be read.
_SHOWN = 24


@dataclass(frozen=True, slots=True)
class Link:
    """One port. ``host`` is how it reads, ``address`` opens it."""

    port: int
    host: str
    address: str


@require_safe
@signed_in
def sandbox_ports(request: HttpRequest, principal: Principal, sandbox_id: str) -> HttpResponse:
    """It asks for itself again while that can change."""
    require(principal, Scope.SANDBOXES_READ)
    found = sandbox_for(principal=principal, sandbox_id=sandbox_id)
    context: dict[str, object] = {"sandbox": found, "links": [], "more": 0}
    if found.status == Status.RUNNING:
        with refusals() as refusal:
            check_previews(found)
            ports = async_to_sync(port_client().ports)(found.id)
            context["links"] = [_link(found, port) for port in ports[:_SHOWN]]
            context["more"] = max(0, len(ports) - _SHOWN)
        context["why_not"] = refusal.message
    return render(request, "console/parts/ports.html", context)


def _link(sandbox: Sandbox, port: int) -> Link:
    shown = name_of(sandbox, port)
    return Link(port, shown.host, preview_link(sandbox, shown))
