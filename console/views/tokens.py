"""Tokens: who may call the API, minted and revoked."""

from __future__ import annotations

from datetime import timedelta

from django.contrib import messages
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts.models import Token
from accounts.origin import origin_of
from accounts.policy import USUAL_SCOPES, Principal, Scope, require
from accounts.selectors import tokens_of
from accounts.services import Invalid, Minted, token_mint, token_revoke
from console.forms import EXPIRIES, SCOPES, TokenForm
from console.signed_in import signed_in

SOON = timedelta(days=7)
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
    require(principal, Scope.TOKENS_READ)
    form = TokenForm(request.POST or None)
    minted: Minted | None = None
    if request.method == "POST" and form.is_valid():
        try:
            minted = token_mint(
                principal=principal,
                name=form.cleaned_data["name"],
                scopes=form.cleaned_data["scopes"],
                expires_in_days=form.expires_in_days(),
                allowed_networks=form.allowed_networks(),
                origin=origin_of(request),
            )
            form = TokenForm()
        except Invalid as error:
            form.add_error(None, str(error))
    now = timezone.now()
    context = {
        "form": form,
        "minted": minted,
        "snippets": SNIPPETS,
        "tokens": tokens_of(principal.account_id),
        "scopes": SCOPES.items(),
        "usual": USUAL_SCOPES,
        "expiries": EXPIRIES.items(),
        "now": now,
        "soon": now + SOON,
    }
    return render(request, "console/tokens.html", context, status=422 if form.errors else 200)


@require_POST
@signed_in
def token_end(request: HttpRequest, principal: Principal, token_id: str) -> HttpResponse:
    """Revoke: the next request is refused, open streams end within a second."""
    try:
        token = token_revoke(principal=principal, token_id=token_id, origin=origin_of(request))
    except Token.DoesNotExist:
        raise Http404("There is no such token in this account.") from None
    messages.success(request, f"{token.name} is revoked. Nothing can be done with it any more.")
    return redirect("tokens")
