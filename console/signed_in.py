"""Who looks at a page, and what happens when they may not."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Concatenate, Final, ParamSpec, cast

import structlog
from django.contrib.auth.views import redirect_to_login
from django.contrib.sessions.backends.base import SessionBase
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render

from accounts.errors import NotFound
from accounts.models import User
from accounts.policy import Forbidden, Principal
from accounts.selectors import principal_of_user
from console.refusals import say_to_script

P = ParamSpec("P")
Page = Callable[Concatenate[HttpRequest, Principal, P], HttpResponseBase]
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]

ACCOUNT: Final = "account"
"""Where a session keeps the account it looks at."""


def signed_in(page: Page[P]) -> View[P]:
    """Give the page its ``Principal``; send others to sign in (401 for a script's request).

    What the domain raises becomes an answer here: ``Forbidden`` 403, ``NotFound`` 404.
    """

    @functools.wraps(page)
    def view(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
        if not isinstance(request.user, User):
            return sign_in_first(request)
        principal = chosen_principal(request)
        if principal is None:
            return _refused(request, "You are not a member of any account yet. Ask an owner.")
        structlog.contextvars.bind_contextvars(account_id=principal.account_id)
        request.principal = principal  # type: ignore[attr-defined]
        try:
            with missing_told():
                return page(request, principal, *args, **kwargs)
        except Forbidden as error:
            return _refused(request, str(error))

    return cast(View[P], view)


@contextmanager
def missing_told() -> Iterator[None]:
    """``NotFound`` is a 404."""
    try:
        yield
    except NotFound as error:
        raise Http404(str(error)) from None


def chosen_principal(request: HttpRequest) -> Principal | None:
    """Who looks, in the account they chose."""
    user = request.user
    return principal_in_session(user, request.session) if isinstance(user, User) else None


def principal_in_session(user: User, session: SessionBase) -> Principal | None:
    """``user`` in the account this session looks at; in their oldest where that is over."""
    chosen = session.get(ACCOUNT)
    if chosen is not None:
        principal = principal_of_user(user=user, account_id=str(chosen))
        if principal is not None:
            return principal
    return principal_of_user(user=user)


def choose_account(request: HttpRequest, account_id: str) -> None:
    """What this session looks at from now on."""
    request.session[ACCOUNT] = account_id


def sign_in_first(request: HttpRequest) -> HttpResponse:
    """A script's request is told so, which then leads its page there."""
    if request.headers.get("HX-Request"):
        return HttpResponse("Sign in first.", status=401)
    return redirect_to_login(request.get_full_path())


def _refused(request: HttpRequest, message: str) -> HttpResponse:
    response = render(request, "console/refused.html", {"message": message}, status=403)
    say_to_script(response, message)
    return response
