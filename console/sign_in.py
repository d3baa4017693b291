"""How a person gets a session, in one step or two, and what a recent proof of them is worth."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable
from typing import Concatenate, Final, ParamSpec, cast
from urllib.parse import urlencode

from django.contrib import auth
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.crypto import constant_time_compare
from django.utils.http import url_has_allowed_host_and_scheme

from accounts.factors import factors_of
from accounts.models import User
from accounts.passkeys import Site
from console.signed_in import chosen_principal, missing_told, sign_in_first

P = ParamSpec("P")
PersonPage = Callable[Concatenate[HttpRequest, User, P], HttpResponseBase]
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]

BACKEND: Final = "django.contrib.auth.backends.ModelBackend"
PENDING_SECONDS: Final = 600
"""How long a right password waits for its second step."""

PROOF_SECONDS: Final = 600
"""How long after signing in, or saying the password again, one's own sign-in can be changed."""

_PENDING: Final = "second_step"
_PROVED: Final = "proved_at"


def first_step_done(request: HttpRequest, user: User, *, to: str) -> HttpResponse:
    """The password was right: signed in, or on to the second step, until which nobody is."""
    if not factors_of(user).second_step:
        begin_session(request, user, method="password")
        return redirect(to)
    if request.user.is_authenticated:
        auth.logout(request)
    request.session.cycle_key()
    request.session[_PENDING] = {
        "user": user.pk,
        "at": time.time(),
        "to": to,
        "hash": user.get_session_auth_hash(),
    }
    return redirect("login-second")


def pending_user(request: HttpRequest) -> User | None:
    """Whose password was right a moment ago in this session, and is still that one."""
    held = request.session.get(_PENDING)
    if held is None or time.time() - held["at"] > PENDING_SECONDS:
        return None
    user = User.objects.filter(pk=held["user"], is_active=True).first()
    if user is None or not constant_time_compare(held["hash"], user.get_session_auth_hash()):
        return None
    return user


def pending_to(request: HttpRequest) -> str:
    """Where to go after the second step."""
    held = request.session.get(_PENDING) or {}
    return safe_path(held.get("to", "/"))


def begin_session(request: HttpRequest, user: User, *, method: str) -> None:
    """Sign in, under a key that nobody has seen before; ``method`` is shown among sessions."""
    request.session.pop(_PENDING, None)
    request.sign_in_method = method  # type: ignore[attr-defined]
    auth.login(request, user, backend=BACKEND)
    note_proof(request)


def note_proof(request: HttpRequest) -> None:
    """Who sits there has just shown who they are."""
    request.session[_PROVED] = time.time()


def is_proved(request: HttpRequest) -> bool:
    """Whether that was a moment ago."""
    at = float(request.session.get(_PROVED, 0))
    return 0 <= time.time() - at <= PROOF_SECONDS


def safe_path(wanted: str | None) -> str:
    """``wanted`` if it is a path of this console, else the overview."""
    if wanted and url_has_allowed_host_and_scheme(wanted, allowed_hosts=None):
        return wanted if wanted.startswith("/") else "/"
    return "/"


def site_of(request: HttpRequest) -> Site:
    """What a passkey is bound to; the host was held against the allowed ones."""
    host = request.get_host()
    name = host.rpartition(":")[0] if host.rpartition(":")[2].isdecimal() else host
    return Site(name or host, f"{request.scheme}://{host}")


def for_person(page: PersonPage[P]) -> View[P]:
    """Pages about oneself: signed in is enough, whether or not one is in an account."""

    @functools.wraps(page)
    def view(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if not isinstance(request.user, User):
            return sign_in_first(request)
        request.principal = chosen_principal(request)  # type: ignore[attr-defined]
        with missing_told():
            return page(request, request.user, *args, **kwargs)

    return cast(View[P], view)


def proved(page: PersonPage[P]) -> PersonPage[P]:
    """Ask for the password again first, unless that was a moment ago."""

    @functools.wraps(page)
    def view(
        request: HttpRequest, user: User, /, *args: P.args, **kwargs: P.kwargs
    ) -> HttpResponseBase:
        if is_proved(request):
            return page(request, user, *args, **kwargs)
        to = request.path if request.method in ("GET", "HEAD") else reverse("settings-you")
        prove = f"{reverse('settings-prove')}?{urlencode({'next': to})}"
        if request.headers.get("Accept") == "application/json":
            return JsonResponse({"prove": prove}, status=403)
        return redirect(prove)

    return cast(PersonPage[P], view)
