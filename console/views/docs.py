"""The quick start for callers of the API."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.policy import Principal
from console.signed_in import signed_in
from sandboxes.limits import TEMPLATES
from sandboxes.selectors import limits_of


@require_safe
@signed_in
def docs(request: HttpRequest, principal: Principal) -> HttpResponse:
    """Snippets with the reader's own address, and the way to the OpenAPI description."""
    context = {"templates": TEMPLATES, "limits": limits_of(principal.account_id)}
    return render(request, "console/docs.html", context)
