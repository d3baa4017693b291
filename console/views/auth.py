"""Signing in and out."""

from __future__ import annotations

from django.contrib import auth
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from console.forms import SignInForm


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
    email = form.cleaned_data["email"]
    user = auth.authenticate(request, username=email, password=form.cleaned_data["password"])
    if user is None:
        return _page(request, "That e-mail address and password do not go together.")
    auth.login(request, user)
    return redirect(_next(request))


@require_POST
def logout(request: HttpRequest) -> HttpResponse:
    """Ends the session."""
    auth.logout(request)
    return redirect("login")


def _page(request: HttpRequest, wrong: str = "") -> HttpResponse:
    context = {"wrong": wrong, "email": request.POST.get("email", ""), "next": _next(request)}
    return render(request, "console/login.html", context, status=422 if wrong else 200)


def _next(request: HttpRequest) -> str:
    """Where to go then: only ever an address of this console."""
    wanted = request.POST.get("next") or request.GET.get("next") or "/"
    return wanted if url_has_allowed_host_and_scheme(wanted, allowed_hosts=None) else "/"
