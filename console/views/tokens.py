"""Tokens: who may call the API, minted and revoked."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from accounts.models import Token
from accounts.origin import origin_of
from accounts.policy import USUAL_SCOPES, Principal, Scope, allows, require
from accounts.selectors import TokenState, token_of
from accounts.services import Minted, token_mint, token_revoke
from console.forms import EXPIRIES, SCOPES, TokenForm
from console.refusals import refusals_in
from console.signed_in import signed_in
from console.token_list import token_filters, token_list
from sandboxes.blast import token_reach, token_stop

SOON = timedelta(days=7)
#: What the form that a first visit leads to, ``?mint``, is filled in with.
_FIRST = "first steps"
#: What a new token can be put into at once: the template of each, and its name on the page.
SNIPPETS = [
    {"name": name, "label": label, "template": f"console/snippets/{name}.txt"}
    for name, label in (
        ("python", "Python"),
        ("javascript", "JavaScript"),
        ("curl", "curl"),
        ("mcp", "MCP"),
        ("shell", "Environment"),
    )
]


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def tokens(request: HttpRequest, principal: Principal) -> HttpResponse:
    """The list, and the form that mints one. A new token's text is in this one answer only."""
    require(principal, Scope.TOKENS_WRITE if request.method == "POST" else Scope.TOKENS_READ)
    narrow = _narrower(request, principal)
    begins = request.method != "POST" and "mint" in request.GET
    form = TokenForm(request.POST or None, initial=narrow or ({"name": _FIRST} if begins else None))
    minted: Minted | None = None
    if request.method == "POST" and form.is_valid():
        with refusals_in(form):
            minted = token_mint(
                principal=principal,
                name=form.cleaned_data["name"],
                scopes=form.cleaned_data["scopes"],
                expires_in_days=form.expires_in_days(),
                allowed_networks=form.allowed_networks(),
                origin=origin_of(request),
            )
            form = TokenForm()
    now = timezone.now()
    context = {
        "form": form,
        "narrow": narrow,
        "begins": begins,
        "minted": minted,
        "snippets": SNIPPETS,
        "board": token_list(account_id=principal.account_id, filters=token_filters(request.GET)),
        "states": TokenState.choices,
        "scopes": SCOPES.items(),
        "usual": USUAL_SCOPES,
        "expiries": EXPIRIES.items(),
        "now": now,
        "soon": now + SOON,
    }
    return render(request, "console/tokens.html", context, status=422 if form.errors else 200)


@never_cache
@require_safe
@signed_in
def token(request: HttpRequest, principal: Principal, token_id: str) -> HttpResponse:
    """One token: what it may do and does, and how far it reaches."""
    require(principal, Scope.TOKENS_READ)
    found = token_of(account_id=principal.account_id, token_id=token_id)
    reach = token_reach(found)
    uses = {use.scope: use.last_at for use in found.scope_uses.all()}
    now = timezone.now()
    context = {
        "token": found,
        "scopes": [(one, SCOPES.get(Scope(one), ""), uses.get(one)) for one in found.scopes],
        "reach": reach,
        "may_revoke": _may_revoke(principal, found),
        "now": now,
        "soon": now + SOON,
    }
    return render(request, "console/token.html", context)


@require_POST
@signed_in
def token_stopped(request: HttpRequest, principal: Principal, token_id: str) -> HttpResponse:
    """Revoke it and pause everything it started; says what became of each."""
    found = token_of(account_id=principal.account_id, token_id=token_id)
    stopped = token_stop(principal=principal, token_id=found.id, origin=origin_of(request))
    count = len(stopped.paused)
    said = f"{found.name} is revoked. {count} running sandbox{'' if count == 1 else 'es'} paused."
    if stopped.failed:
        messages.error(request, f"{said} These could not be: {', '.join(stopped.failed)}.")
    else:
        messages.success(request, said)
    return redirect("token", found.id)


def _may_revoke(principal: Principal, found: Token) -> bool:
    own = found.created_by_id is not None and found.created_by_id == principal.user_id
    return allows(principal, Scope.TOKENS_ADMIN) or (own and allows(principal, Scope.TOKENS_WRITE))


def _narrower(request: HttpRequest, principal: Principal) -> dict[str, Any] | None:
    """What to mint instead of the token that ``?narrower=`` names: only what it has used."""
    token_id = request.GET.get("narrower", "")
    if request.method == "POST" or not token_id:
        return None
    found = token_of(account_id=principal.account_id, token_id=token_id)
    used = {use.scope for use in found.scope_uses.all()}
    return {
        "name": found.name,
        "scopes": [scope for scope in found.scopes if scope in used],
        "networks": ", ".join(found.allowed_networks),
        "expires": "90",
    }


@require_POST
@signed_in
def token_end(request: HttpRequest, principal: Principal, token_id: str) -> HttpResponse:
    """Revoke: the next request is refused, open streams end within a second."""
    token = token_revoke(principal=principal, token_id=token_id, origin=origin_of(request))
    messages.success(request, f"{token.name} is revoked. Nothing can be done with it any more.")
    return redirect(f"{reverse('tokens')}?{token_filters(request.GET).query}".rstrip("?"))
