"""The Metrics tab: what a sandbox uses, with commands and turns of its life marked."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.policy import Principal, Scope, require
from console.charts import chart_of
from console.signed_in import signed_in
from sandboxes.selectors import sandbox_for


@require_safe
@signed_in
def metrics(request: HttpRequest, principal: Principal, sandbox_id: str) -> HttpResponse:
    """The page; a script asks for what it draws."""
    require(principal, Scope.SANDBOXES_READ)
    found = sandbox_for(principal=principal, sandbox_id=sandbox_id)
    return render(request, "console/metrics.html", {"sandbox": found})


@require_safe
@signed_in
def chart(request: HttpRequest, principal: Principal, sandbox_id: str) -> JsonResponse:
    """``charts.chart_of`` as it is now."""
    require(principal, Scope.SANDBOXES_READ)
    found = sandbox_for(principal=principal, sandbox_id=sandbox_id)
    return JsonResponse(chart_of(found), headers={"Cache-Control": "no-store"})
