"""One's own sign-in: password, second step, passkeys, sessions, and which account to look at."""

from __future__ import annotations

import segno
from django.contrib import messages
from django.contrib.auth import update_session_auth_hash
from django.http import Http404, HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.announce import session_mark
from accounts.attempts import TooManyAttempts
from accounts.errors import Invalid
from accounts.factors import (
    authenticator_add,
    authenticator_remove,
    factors_of,
    fresh_secret,
    provisioning_uri,
    recovery_codes_renew,
)
from accounts.models import User
from accounts.origin import origin_of
from accounts.passkeys import passkey_add, passkey_ask_new, passkey_remove
from accounts.passwords import password_check, password_confirm
from accounts.policy import Principal
from accounts.selectors import accounts_of, principal_of_user
from accounts.services import person_record
from accounts.sessions import session_end, session_renamed, sessions_end_others, sessions_of
from console.sign_in import for_person, note_proof, proved, safe_path, site_of
from console.signed_in import choose_account
from console.user_agents import device_of
from console.views.auth import keep_challenge, spend_challenge

_SECRET = "new_authenticator"  # noqa: S105 - the name of what the session holds


@never_cache
@require_safe
@for_person
def you(request: HttpRequest, user: User) -> HttpResponse:
    """All of it, with what can be done about it."""
    principal: Principal | None = request.principal  # type: ignore[attr-defined]
    sessions = [
        (row, session_mark(row.session_key), device_of(row.user_agent)) for row in sessions_of(user)
    ]
    context = {
        "person": user,
        "factors": factors_of(user),
        "sessions": sessions,
        "here": request.session.session_key,
        "accounts": list(accounts_of(user)),
        "account_id": principal.account_id if principal else None,
        "site": site_of(request),
    }
    return render(request, "console/you.html", context)


@sensitive_post_parameters("password")
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@for_person
def prove(request: HttpRequest, user: User) -> HttpResponse:
    """The password once more, before something about signing in is changed."""
    to = safe_path(request.POST.get("next") or request.GET.get("next"))
    wrong, status = "", 200
    if request.method == "POST":
        said = request.POST.get("password", "")
        try:
            if password_confirm(user=user, password=said, origin=origin_of(request)):
                note_proof(request)
                return redirect(to)
            wrong, status = "That is not your password.", 422
        except TooManyAttempts as error:
            wrong, status = str(error), 429
    context = {"to": to, "wrong": wrong, "person": user}
    return render(request, "console/prove.html", context, status=status)


@sensitive_post_parameters("old", "new")
@never_cache
@require_POST
@for_person
def password(request: HttpRequest, user: User) -> HttpResponse:
    """Another password; every other session ends."""
    try:
        _changed_password(request, user)
    except (Invalid, TooManyAttempts) as error:
        messages.error(request, str(error))
        return redirect("settings-you")
    origin = origin_of(request)
    person_record(user, "person.password_changed", origin)
    sessions_end_others(user=user, keep=request.session.session_key, origin=origin)
    _renew_session(request, user, old=request.session.session_key)
    messages.success(request, "Your password is changed, and all other sessions are ended.")
    return redirect("settings-you")


def _changed_password(request: HttpRequest, user: User) -> None:
    old = request.POST.get("old", "")
    if not password_confirm(user=user, password=old, origin=origin_of(request)):
        raise Invalid("The present password is not that one.")
    new = request.POST.get("new", "")
    password_check(new, user=user)
    user.set_password(new)
    user.save(update_fields=["password"])


def _renew_session(request: HttpRequest, user: User, *, old: str | None) -> None:
    """This session goes on, under a new key."""
    update_session_auth_hash(request, user)
    session_renamed(old=old, new=request.session.session_key)
    note_proof(request)


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@for_person
@proved
def authenticator(request: HttpRequest, user: User) -> HttpResponse:
    """A code to scan, and the first code that the app then shows."""
    wrong = ""
    secret = request.session.setdefault(_SECRET, fresh_secret())
    if request.method == "POST":
        code = "".join(request.POST.get("code", "").split())
        try:
            codes = authenticator_add(
                user=user, secret=secret, code=code, origin=origin_of(request)
            )
        except Invalid as error:
            wrong = str(error)
        else:
            del request.session[_SECRET]
            return render(request, "console/recovery_codes.html", {"codes": codes, "is_new": True})
    uri = provisioning_uri(user=user, secret=secret)
    context = {
        "secret": " ".join(secret[at : at + 4] for at in range(0, len(secret), 4)),
        "qr": segno.make(uri, micro=False).svg_data_uri(scale=5, border=4, dark="#1d1a16"),
        "wrong": wrong,
    }
    return render(request, "console/authenticator.html", context, status=422 if wrong else 200)


@require_POST
@for_person
@proved
def authenticator_end(request: HttpRequest, user: User) -> HttpResponse:
    """Codes are not asked for any more."""
    authenticator_remove(user=user, origin=origin_of(request))
    messages.success(request, "The authenticator app is removed.")
    return redirect("settings-you")


@never_cache
@require_POST
@for_person
@proved
def recovery_codes(request: HttpRequest, user: User) -> HttpResponse:
    """New ones; those before are good for nothing."""
    codes = recovery_codes_renew(user=user, origin=origin_of(request))
    return render(request, "console/recovery_codes.html", {"codes": codes})


@require_POST
@for_person
@proved
def passkey_options(request: HttpRequest, user: User) -> HttpResponse:
    """What a browser is asked for, to make a passkey."""
    try:
        asked = passkey_ask_new(user=user, site=site_of(request))
    except Invalid as error:
        return JsonResponse({"message": str(error)}, status=422)
    keep_challenge(request, asked.challenge)
    return HttpResponse(asked.options, content_type="application/json")


@require_POST
@for_person
@proved
def passkeys(request: HttpRequest, user: User) -> HttpResponse:
    """Keep the passkey that a browser made."""
    had_codes = factors_of(user).recovery_left
    try:
        made = passkey_add(
            user=user,
            site=site_of(request),
            challenge=spend_challenge(request),
            answer=request.POST.get("answer", ""),
            name=request.POST.get("name", "").replace("\x00", ""),
            origin=origin_of(request),
        )
    except Invalid as error:
        return JsonResponse({"message": str(error)}, status=422)
    more = "" if had_codes else " Get recovery codes too, for the day you lose it."
    messages.success(request, f"The passkey {made.name} is ready.{more}")
    return JsonResponse({"to": "/settings/you/"}, status=201)


@require_POST
@for_person
@proved
def passkey_end(request: HttpRequest, user: User, passkey_id: int) -> HttpResponse:
    """It signs nobody in any more."""
    name = passkey_remove(user=user, passkey_id=passkey_id, origin=origin_of(request))
    messages.success(request, f"The passkey {name} is removed.")
    return redirect("settings-you")


@require_POST
@for_person
def session_revoke(request: HttpRequest, user: User, mark: str) -> HttpResponse:
    """End one of one's sessions, with what it has open."""
    if not session_end(user=user, mark=mark, origin=origin_of(request)):
        raise Http404("You have no such session.")
    if mark == session_mark(request.session.session_key):
        request.session.flush()
        return redirect("login")
    messages.success(request, "The session is ended.")
    return redirect("settings-you")


@require_POST
@for_person
def sessions_revoke(request: HttpRequest, user: User) -> HttpResponse:
    """End all of one's sessions but this one."""
    here = request.session.session_key
    count = sessions_end_others(user=user, keep=here, origin=origin_of(request))
    messages.success(request, f"{count} other session{'' if count == 1 else 's'} ended.")
    return redirect("settings-you")


@require_POST
@for_person
def account(request: HttpRequest, user: User) -> HttpResponseBase:
    """Look at another account that one is a member of."""
    wanted = request.POST.get("account", "")[:40].replace("\x00", "")
    if principal_of_user(user=user, account_id=wanted) is None:
        raise Http404("You are not a member of such an account.")
    choose_account(request, wanted)
    return redirect("overview")
