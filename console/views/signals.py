"""What says that a run may be stuck, on its pages."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from accounts.policy import Principal, Scope, require
from console.signed_in import signed_in
from sandboxes.selectors import sandbox_for
from sandboxes.signals.selectors import signals_of
from sandboxes.signals.services import signal_dismiss


@require_safe
@signed_in
def signals(request: HttpRequest, principal: Principal, sandbox_id: str) -> HttpResponse:
    """What stands now."""
    require(principal, Scope.SANDBOXES_READ)
    return _standing(request, principal, sandbox_id)


@require_POST
@signed_in
def dismiss(
    request: HttpRequest, principal: Principal, sandbox_id: str, signal_id: int
) -> HttpResponse:
    """Out of sight until it comes anew."""
    signal_dismiss(principal=principal, sandbox_id=sandbox_id, signal_id=min(signal_id, 2**62))
    if not request.headers.get("HX-Request"):
        return redirect("sandbox", sandbox_id)
    return _standing(request, principal, sandbox_id)


def _standing(request: HttpRequest, principal: Principal, sandbox_id: str) -> HttpResponse:
    found = sandbox_for(principal=principal, sandbox_id=sandbox_id)
    context = {"sandbox": found, "signals": signals_of(sandbox_id=found.id)}
    return render(request, "console/parts/signals.html", context)
