"""Settings: what an account hides from its timelines beside what is always hidden."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_http_methods, require_POST

from accounts.errors import Invalid
from accounts.origin import origin_of
from accounts.policy import Principal, Scope, require
from console.forms import MaskingPatternForm
from console.refusals import refusals_in
from console.signed_in import signed_in
from sandboxes.host.patterns import LENGTH, LONGEST, MOST
from sandboxes.masking import (
    EXAMPLE_LONGEST,
    pattern_remove,
    pattern_save,
    pattern_try,
    patterns_of,
)
from sandboxes.models import MaskingPattern


@never_cache
@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def masking(request: HttpRequest, principal: Principal) -> HttpResponse:
    """The list, and the form that adds or changes one. Everybody in the account may read it."""
    posts = request.method == "POST"
    require(principal, Scope.SETTINGS_WRITE if posts else Scope.SANDBOXES_READ)
    patterns = patterns_of(principal.account_id)
    form = MaskingPatternForm(request.POST or None)
    if posts and form.is_valid() and _saved(request, principal, form):
        return redirect("settings-masking")
    context = {
        "form": form,
        "patterns": patterns,
        "edited": _edited(request, patterns),
        "most": MOST,
        "longest": LENGTH,
        "longest_match": LONGEST,
        "longest_example": EXAMPLE_LONGEST,
    }
    return render(request, "console/masking.html", context, status=422 if form.errors else 200)


@require_POST
@signed_in
def masking_try(request: HttpRequest, principal: Principal) -> HttpResponse:
    """What an expression hides of a text, while it is written."""
    require(principal, Scope.SETTINGS_WRITE)
    expression, example = (request.POST.get(name, "") for name in ("expression", "example"))
    context: dict[str, object] = {}
    if expression and example:
        try:
            context["tried"] = pattern_try(expression=expression, text=example)
        except Invalid as error:
            context["wrong"] = str(error)
    return render(request, "console/parts/masking_tried.html", context)


@require_POST
@signed_in
def masking_remove(request: HttpRequest, principal: Principal, pattern_id: int) -> HttpResponse:
    """Sandboxes that have it keep it."""
    pattern = pattern_remove(principal=principal, pattern_id=pattern_id, origin=origin_of(request))
    messages.success(request, f"{pattern.name} is removed. Sandboxes made from now on show it.")
    return redirect("settings-masking")


def _edited(request: HttpRequest, patterns: list[MaskingPattern]) -> MaskingPattern | None:
    """Whose fields the form begins with."""
    wanted = request.GET.get("edit") or request.POST.get("pattern")
    return next((one for one in patterns if str(one.id) == wanted), None)


def _saved(request: HttpRequest, principal: Principal, form: MaskingPatternForm) -> bool:
    """Whether it was; else the form says why not."""
    wanted = form.cleaned_data
    with refusals_in(form) as refusal:
        pattern = pattern_save(
            principal=principal,
            name=wanted["name"],
            expression=wanted["expression"],
            example=wanted["example"],
            pattern_id=wanted["pattern"],
            origin=origin_of(request),
        )
        messages.success(request, f"{pattern.name} is hidden in sandboxes made from now on.")
    return not refusal
