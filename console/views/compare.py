"""Comparing two runs. The address names both, so that it can be shared."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.policy import Principal, Scope, require
from console.comparing import compare as compared
from console.comparing import output_of, outputs_diff
from console.diffs import diff_lines
from console.signed_in import signed_in
from sandboxes.models import Sandbox
from sandboxes.selectors import sandbox_for, sandboxes_of

OFFERED = 100


@require_safe
@signed_in
def compare(request: HttpRequest, principal: Principal) -> HttpResponse:
    """Choose two runs, or see them beside each other."""
    require(principal, Scope.SANDBOXES_READ)
    left, right = (_chosen(request, principal, name) for name in ("a", "b"))
    context = {
        "left": left,
        "right": right,
        "offered": list(sandboxes_of(principal.account_id)[:OFFERED]),
        "only": request.GET.get("only") == "different",
    }
    if left and right:
        return render(
            request, "console/compare.html", {**context, "comparison": compared(left, right)}
        )
    return render(request, "console/compare.html", context)


@require_safe
@signed_in
def outputs(request: HttpRequest, principal: Principal) -> HttpResponse:
    """How the outputs of two steps differ, as lines."""
    require(principal, Scope.SANDBOXES_READ)
    found = []
    for name in ("a", "b"):
        sandbox, seq = _chosen(request, principal, name), request.GET.get(f"{name}seq", "")
        if sandbox is None or not seq.isascii() or not seq.isdecimal() or len(seq) > 18:
            raise Http404("Name two runs and a step of each.")
        output = output_of(sandbox.id, int(seq))
        if output is None:
            raise Http404("There is no such step.")
        found.append(output)
    (left, cut), (right, more) = found
    diff = outputs_diff(left, right)
    context = {
        "lines": diff_lines({"diff": diff, "path": ""}),
        "unchanged": not diff,
        "cut": cut or more,
    }
    return render(request, "console/parts/compare_output.html", context)


def _chosen(request: HttpRequest, principal: Principal, name: str) -> Sandbox | None:
    sandbox_id = request.GET.get(name, "")
    return sandbox_for(principal=principal, sandbox_id=sandbox_id) if sandbox_id else None
