"""Signing in and out."""

from __future__ import annotations

import base64
import binascii

from django.contrib import auth
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from accounts.attempts import (
    SIGN_IN_OF_ADDRESS,
    SIGN_IN_OF_PERSON,
    SIGN_IN_TO_PERSON,
    TooManyAttempts,
    attempts_count,
    attempts_forget,
)
from accounts.errors import Invalid
from accounts.factors import code_check, factors_of
from accounts.models import User
from accounts.origin import origin_of
from accounts.passkeys import passkey_ask, passkey_check
from console.forms import SignInForm
from console.sign_in import (
    begin_session,
    first_step_done,
    pending_to,
    pending_user,
    safe_path,
    site_of,
)

_CHALLENGE = "passkey_challenge"


@sensitive_post_parameters("password")
@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def login(request: HttpRequest) -> HttpResponse:
    """The sign-in page. Says the same whether the address or the password was wrong."""
    if request.method != "POST":
        if request.user.is_authenticated:
            return redirect(_next(request))
        return _page(request)
    form = SignInForm(request.POST)
    if not form.is_valid():
        return _page(request, "Enter your e-mail address and password.")
    email, password = form.cleaned_data["email"].lower(), form.cleaned_data["password"]
    try:
        user = _authenticated(request, email, password)
    except TooManyAttempts as error:
        return _page(request, str(error), status=429)
    if user is None:
        return _page(request, "That e-mail address and password do not go together.")
    return first_step_done(request, user, to=_next(request))


def _authenticated(request: HttpRequest, email: str, password: str) -> User | None:
    """Raises ``TooManyAttempts`` before a password is looked at."""
    network = origin_of(request).network
    counted = attempts_count(
        (SIGN_IN_OF_ADDRESS, network),
        (SIGN_IN_OF_PERSON, network, email),
        (SIGN_IN_TO_PERSON, email),
    )
    user = auth.authenticate(request, username=email, password=password)
    if not isinstance(user, User):
        return None
    counted.take_back()
    attempts_forget(SIGN_IN_OF_PERSON, network, email)
    return user


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
def login_second(request: HttpRequest) -> HttpResponse:
    """The second step: a code of an app, a recovery code, or a passkey."""
    user = pending_user(request)
    if user is None:
        return redirect("login")
    if request.method != "POST":
        return _second_page(request, user)
    try:
        how = code_check(user=user, code=request.POST.get("code", ""), origin=origin_of(request))
    except TooManyAttempts as error:
        return _second_page(request, user, str(error), status=429)
    except Invalid as error:
        return _second_page(request, user, str(error), status=422)
    to = pending_to(request)
    method = "password and recovery code" if how == "recovery" else "password and code"
    begin_session(request, user, method=method)
    return redirect(to)


@require_POST
def login_passkey_options(request: HttpRequest) -> HttpResponse:
    """What a browser is asked for; the challenge is kept with the session."""
    try:
        asked = passkey_ask(site=site_of(request))
    except Invalid as error:
        return JsonResponse({"message": str(error)}, status=422)
    keep_challenge(request, asked.challenge)
    return HttpResponse(asked.options, content_type="application/json")


@require_POST
def login_passkey(request: HttpRequest) -> HttpResponse:
    """Signed in by a passkey alone: having it and unlocking it are two steps already."""
    try:
        counted = attempts_count((SIGN_IN_OF_ADDRESS, origin_of(request).network))
        user = passkey_check(
            site=site_of(request),
            challenge=spend_challenge(request),
            answer=request.POST.get("answer", ""),
        )
    except TooManyAttempts as error:
        return JsonResponse({"message": str(error)}, status=429)
    except Invalid as error:
        return JsonResponse({"message": str(error)}, status=422)
    counted.take_back()
    to = _next(request)
    begin_session(request, user, method="passkey")
    return JsonResponse({"to": to})


@require_POST
def logout(request: HttpRequest) -> HttpResponse:
    """Ends the session."""
    auth.logout(request)
    return redirect("login")


def keep_challenge(request: HttpRequest, challenge: bytes) -> None:
    """For one answer."""
    request.session[_CHALLENGE] = base64.b64encode(challenge).decode()


def spend_challenge(request: HttpRequest) -> bytes:
    """The one that was given out last, once; empty when none was, which no answer signs."""
    try:
        return base64.b64decode(request.session.pop(_CHALLENGE, ""))
    except (binascii.Error, TypeError):
        return b""


def _page(request: HttpRequest, wrong: str = "", *, status: int = 422) -> HttpResponse:
    context = {"wrong": wrong, "email": request.POST.get("email", ""), "next": _next(request)}
    return render(request, "console/login.html", context, status=status if wrong else 200)


def _second_page(
    request: HttpRequest, user: User, wrong: str = "", *, status: int = 200
) -> HttpResponse:
    context = {"factors": factors_of(user), "email": user.email, "wrong": wrong}
    context["next"] = pending_to(request)
    return render(request, "console/login_second.html", context, status=status)


def _next(request: HttpRequest) -> str:
    """Where to go then: only ever an address of this console."""
    return safe_path(request.POST.get("next") or request.GET.get("next"))
