"""Settings of the account: how long timelines are kept, and the default allowlist."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_POST, require_safe

from accounts.origin import origin_of
from accounts.policy import Principal, Scope, require
from accounts.selectors import account_of
from console.forms import DomainsForm, RetentionForm
from console.refusals import refusals_in
from console.signed_in import signed_in
from sandboxes.allowlist import DOMAINS_MAX, account_domains_set, default_domains
from sandboxes.retention import MOST_DAYS, forecast, retention_set


@never_cache
@require_safe
@signed_in
def account_settings(request: HttpRequest, principal: Principal) -> HttpResponse:
    """Everybody in the account may read it."""
    require(principal, Scope.SANDBOXES_READ)
    return _page(request, principal)


@require_POST
@signed_in
def retention(request: HttpRequest, principal: Principal) -> HttpResponse:
    """Another number of days; what it removes is said first."""
    require(principal, Scope.SETTINGS_WRITE)
    form = RetentionForm(request.POST)
    if not form.is_valid():
        return _page(request, principal, retention_form=form)
    days, now = form.cleaned_data["days"], timezone.now()
    account_id = principal.account_id
    is_less = days < account_of(account_id).timeline_days
    if is_less and not form.cleaned_data["confirmed"]:
        removed = forecast(account_id=account_id, days=days, now=now)
        return _page(request, principal, removes=removed, status=200)
    retention_set(principal=principal, days=days, origin=origin_of(request))
    messages.success(request, f"Timelines are kept for {days} days after a run has ended.")
    return redirect("settings-account")


@require_POST
@signed_in
def domains(request: HttpRequest, principal: Principal) -> HttpResponse:
    """What restricted sandboxes made from now on may reach."""
    require(principal, Scope.SETTINGS_WRITE)
    form = DomainsForm(request.POST)
    if not form.is_valid():
        return _page(request, principal, domains_form=form)
    with refusals_in(form, "domains") as refusal:
        account_domains_set(principal=principal, names=form.names(), origin=origin_of(request))
    if refusal:
        return _page(request, principal, domains_form=form)
    messages.success(request, "The default allowlist holds for sandboxes made from now on.")
    return redirect("settings-account")


def _page(
    request: HttpRequest, principal: Principal, *, status: int = 422, **more: Any
) -> HttpResponse:
    account = account_of(principal.account_id)
    now = timezone.now()
    context = {
        "account": account,
        "kept": forecast(account_id=account.id, days=account.timeline_days, now=now),
        "most_days": MOST_DAYS,
        "installation": default_domains(),
        "most_domains": DOMAINS_MAX,
        **more,
    }
    return render(request, "console/account.html", context, status=status if more else 200)
