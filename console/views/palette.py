"""What the command palette finds on the server: sandboxes and saved views."""

from __future__ import annotations

from typing import Any, Final

from django.http import HttpRequest, JsonResponse
from django.urls import reverse
from django.views.decorators.http import require_safe

from accounts.policy import Principal, Scope, require
from console.boards import SHORTEST
from console.signed_in import signed_in
from console.templatetags.console_ui import short_id
from sandboxes.models import Sandbox
from sandboxes.saved_views import saved_views_of
from sandboxes.selectors import sandboxes_of
from timeline.inert import inert

MOST: Final = 8
_LONGEST: Final = 100


@require_safe
@signed_in
def palette(request: HttpRequest, principal: Principal) -> JsonResponse:
    """Sandboxes whose id or metadata hold ``q``, the newest ones without; views by their name."""
    require(principal, Scope.SANDBOXES_READ)
    text = request.GET.get("q", "").replace("\x00", "").strip()[:_LONGEST]
    # As the console shortens ids: what stands behind the dots is what tells them apart.
    text = text.rpartition("…")[2]
    searched = text if len(text) >= SHORTEST else None
    views = saved_views_of(principal)
    if searched:
        views = views.filter(name__icontains=searched)
    rows = sandboxes_of(principal.account_id, text=searched)[:MOST]
    items = [_sandbox(row) for row in rows]
    items += [
        {
            "group": "Saved views",
            "label": view.name,
            "icon": "list",
            "href": f"{reverse('sandboxes')}?{view.query}",
        }
        for view in views[:MOST]
    ]
    response = JsonResponse({"items": items})
    response["Cache-Control"] = "no-store"
    return response


def _sandbox(row: Sandbox) -> dict[str, Any]:
    pairs = " ".join(f"{name}={value}" for name, value in row.metadata.items())
    return {
        "group": "Sandboxes",
        "label": short_id(row.id),
        "sub": inert(f"{row.template} {pairs}"[:_LONGEST]),
        "state": row.status,
        "stateLabel": row.get_status_display(),
        "href": reverse("sandbox", args=[row.id]),
    }
