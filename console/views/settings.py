"""Settings have an address of their own, which leads to the first part of them."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.views.decorators.http import require_safe

from accounts.policy import Principal
from console.signed_in import signed_in
from console.tabs import SETTINGS


@require_safe
@signed_in
def settings(request: HttpRequest, principal: Principal) -> HttpResponse:
    """Where the main navigation and the address `/settings/` lead."""
    return redirect(SETTINGS[0].name)
