"""A run at a glance, and what it used, for the strip over its timeline."""

from __future__ import annotations

from django.http import HttpRequest, JsonResponse
from django.views.decorators.http import require_safe

from accounts.policy import Principal, Scope, require
from console.signed_in import signed_in
from sandboxes.models import ENDED, Sandbox
from sandboxes.selectors import sandbox_for
from sandboxes.usage.history import usage_history
from timeline.strip import strip_of


@require_safe
@signed_in
def sandbox_strip(request: HttpRequest, principal: Principal, sandbox_id: str) -> JsonResponse:
    """``timeline.strip.Strip`` with ``usage``: ``[began, at, share of CPU, share of memory]``."""
    require(principal, Scope.SANDBOXES_READ)
    found = sandbox_for(principal=principal, sandbox_id=sandbox_id)
    strip = strip_of(found.id)
    return JsonResponse(
        {
            "first": strip.first,
            "last": strip.last,
            "ended": found.status in ENDED,
            "bars": strip.bars,
            "counts": strip.counts,
            "marks": strip.marks,
            "ticks": strip.ticks,
            "usage": _usage(found),
        }
    )


def _usage(sandbox: Sandbox) -> list[list[float]]:
    cpu, memory = float(sandbox.cpu), sandbox.memory_mb * 1024 * 1024
    return [
        [
            round(point.began.timestamp() * 1000),
            round(point.at.timestamp() * 1000),
            round(min(1.0, point.cores / cpu), 3),
            round(min(1.0, point.memory / memory), 3),
        ]
        for point in usage_history(sandbox)
    ]
