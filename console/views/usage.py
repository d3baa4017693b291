"""What a sandbox uses right now, for its page."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.policy import Principal, Scope, require
from console.signed_in import signed_in
from sandboxes.host.meter import WINDOW_SECONDS
from sandboxes.host.types import HostError
from sandboxes.models import ENDED
from sandboxes.selectors import sandbox_for
from sandboxes.services import host_client
from sandboxes.usage.metrics import Metrics, metrics_of

#: Units of the curve's height; its width is one a second.
_HEIGHT = 24


@dataclass(frozen=True, slots=True)
class Curve:
    """One value over the last minute: points of an SVG polyline, the latest at the right."""

    line: str
    area: str


@require_safe
@signed_in
def sandbox_usage(request: HttpRequest, principal: Principal, sandbox_id: str) -> HttpResponse:
    """CPU and memory now, with the last minute; it asks for itself again while that can change."""
    require(principal, Scope.SANDBOXES_READ)
    found = sandbox_for(principal=principal, sandbox_id=sandbox_id)
    try:
        metrics = async_to_sync(metrics_of)(found, host=host_client())
    except HostError:
        return render(request, "console/parts/usage.html", {"sandbox": found, "is_over": False})
    context = {
        "sandbox": found,
        "is_over": found.status in ENDED,
        "metrics": metrics,
        "cpu": _curve(metrics, [metrics.cpu_percent(one) for one in metrics.samples]),
        "memory": _curve(metrics, [metrics.memory_percent(one) for one in metrics.samples]),
        "cpu_percent": metrics.cpu_percent(metrics.now) if metrics.now else None,
    }
    return render(request, "console/parts/usage.html", context)


def _curve(metrics: Metrics, percents: Sequence[float]) -> Curve | None:
    """None with less than two points, which are no line."""
    if len(percents) < 2:
        return None
    last = metrics.samples[-1].at
    points = [
        (WINDOW_SECONDS - (last - sample.at), _HEIGHT * (1 - min(percent, 100) / 100))
        for sample, percent in zip(metrics.samples, percents, strict=True)
    ]
    line = " ".join(f"{x},{y:.1f}" for x, y in points)
    return Curve(line, f"{points[0][0]},{_HEIGHT} {line} {points[-1][0]},{_HEIGHT}")
