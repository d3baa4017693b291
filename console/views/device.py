"""Answering a command line that asks to be signed in."""

from __future__ import annotations

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods

from accounts.devices import device_approve, device_of_code, device_refuse
from accounts.errors import Invalid
from accounts.models import DeviceLogin
from accounts.origin import origin_of
from accounts.policy import USUAL_SCOPES, Principal, Scope, allows, require
from console.forms import EXPIRIES, SCOPES, DeviceForm
from console.signed_in import signed_in

_NONE = "No login waits under this code. Check it; a request can be answered once, for ten minutes."


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def device(request: HttpRequest, principal: Principal) -> HttpResponse:
    """Without a code, ask for it; with one, show who asks and let the person decide."""
    require(principal, Scope.TOKENS_WRITE)
    code = (request.POST.get("code") or request.GET.get("code") or "")[:40]
    login = device_of_code(code) if code else None
    if login is None:
        return _page(request, principal, None, code=code, wrong=_NONE if code else "")
    if request.method != "POST":
        return _page(request, principal, login)
    try:
        return _answer(request, principal, login)
    except Invalid as error:
        return _page(request, principal, login, wrong=str(error))


def _answer(request: HttpRequest, principal: Principal, login: DeviceLogin) -> HttpResponse:
    origin = origin_of(request)
    if request.POST.get("answer") != "approve":
        login = device_refuse(principal=principal, device_id=login.id, origin=origin)
        return render(request, "console/device_answered.html", {"login": login})
    form = DeviceForm(request.POST)
    if not form.is_valid():
        return _page(request, principal, login, form=form)
    login = device_approve(
        principal=principal,
        device_id=login.id,
        name=form.cleaned_data["name"],
        scopes=form.cleaned_data["scopes"],
        expires_in_days=form.expires_in_days(),
        origin=origin,
    )
    return render(request, "console/device_answered.html", {"login": login})


def _page(
    request: HttpRequest,
    principal: Principal,
    login: DeviceLogin | None,
    *,
    code: str = "",
    wrong: str = "",
    form: DeviceForm | None = None,
) -> HttpResponse:
    context = {
        "login": login,
        "code": code,
        "wrong": wrong,
        "form": form or DeviceForm(),
        "scopes": [(scope, what) for scope, what in SCOPES.items() if allows(principal, scope)],
        "usual": USUAL_SCOPES,
        "expiries": EXPIRIES.items(),
        "now": timezone.now(),
    }
    is_wrong = bool(wrong) or form is not None
    return render(request, "console/device.html", context, status=422 if is_wrong else 200)
