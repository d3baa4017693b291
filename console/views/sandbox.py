"""One sandbox: its timeline, and what an operator can do to it."""

from __future__ import annotations

from collections.abc import Callable

from asgiref.sync import async_to_sync
from django.contrib import messages
from django.forms import Form
from django.http import HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from accounts.origin import origin_of
from accounts.policy import Principal, Scope, require
from console import history
from console.forms import BudgetForm, ExtendForm
from console.moments import moment_of
from console.refusals import refusals_told
from console.signed_in import signed_in
from console.tabs import tab_to_return_to
from console.views.notes import notes_context
from sandboxes.budgets import sandbox_set_budget
from sandboxes.selectors import sandbox_for
from sandboxes.services import sandbox_set_timeout, sandbox_terminate
from timeline.events import LAST_SEQ
from timeline.filters import Filter
from timeline.matches import actors_of

SPEEDS = (1, 2, 4, 8, 16, 64)


@require_safe
@signed_in
def sandbox(request: HttpRequest, principal: Principal, sandbox_id: str) -> HttpResponse:
    """The timeline: its newest page, which a script keeps live."""
    require(principal, Scope.SANDBOXES_READ)
    found = sandbox_for(principal=principal, sandbox_id=sandbox_id)
    wanted = _wanted(request)
    part = history.slice_before(sandbox_id=found.id, limit=history.FIRST, wanted=wanted)
    context = {
        "sandbox": found,
        "slice": part,
        "actors": actors_of(found.id),
        "started_ms": int(found.created_at.timestamp() * 1000),
        "shows": history.SHOWS.items(),
        "wanted": wanted,
        "speeds": SPEEDS,
        **notes_context(principal, found.id),
    }
    return render(request, "console/sandbox.html", context)


@require_safe
@signed_in
def sandbox_rows(request: HttpRequest, principal: Principal, sandbox_id: str) -> HttpResponse:
    """Rows before or after a seq, or around the moment ``at``; headers say what they cover."""
    require(principal, Scope.SANDBOXES_READ)
    found = sandbox_for(principal=principal, sandbox_id=sandbox_id)
    try:
        before, after, at, limit = (
            _number(request, name) for name in ("before", "after", "at", "limit")
        )
    except ValueError:
        return HttpResponseBadRequest("before, after, at and limit are whole numbers.")
    limit = min(max(limit or history.PAGE, 1), history.MOST)
    if at is not None:
        part, seq = history.slice_around(sandbox_id=found.id, at=moment_of(at), limit=limit)
        return _rows(part, {"x-at": str(seq)})
    wanted = _wanted(request)
    if after is not None:
        part = history.slice_after(sandbox_id=found.id, after=after, limit=limit, wanted=wanted)
    else:
        part = history.slice_before(sandbox_id=found.id, before=before, limit=limit, wanted=wanted)
    return _rows(part, {})


def _rows(part: history.Slice, headers: dict[str, str]) -> HttpResponse:
    covered = {"x-from": str(part.first), "x-to": str(part.last)}
    return HttpResponse(part.html, headers=covered | headers)


@require_safe
@signed_in
def sandbox_head(request: HttpRequest, principal: Principal, sandbox_id: str) -> HttpResponse:
    """The page's header as it is now."""
    require(principal, Scope.SANDBOXES_READ)
    found = sandbox_for(principal=principal, sandbox_id=sandbox_id)
    return render(request, "console/parts/sandbox_head.html", {"sandbox": found})


@require_POST
@signed_in
def sandbox_extend(request: HttpRequest, principal: Principal, sandbox_id: str) -> HttpResponse:
    """Restart the clock from now."""
    form = ExtendForm(request.POST)
    wrong = "Choose for how long."
    return _set(request, principal, sandbox_id, form, sandbox_set_timeout, wrong=wrong)


@require_POST
@signed_in
def sandbox_budget(request: HttpRequest, principal: Principal, sandbox_id: str) -> HttpResponse:
    """What the run may cost; nothing typed takes the limit away."""
    form = BudgetForm(request.POST)
    wrong = "A budget is a number of euros, such as 0.50."
    return _set(request, principal, sandbox_id, form, sandbox_set_budget, wrong=wrong)


def _set(
    request: HttpRequest,
    principal: Principal,
    sandbox_id: str,
    form: Form,
    service: Callable[..., object],
    *,
    wrong: str,
) -> HttpResponse:
    """``service`` is given what the form holds, by its fields' names."""
    if not form.is_valid():
        messages.error(request, wrong)
        return redirect(tab_to_return_to(request, sandbox_id))
    asked = {"principal": principal, "sandbox_id": sandbox_id, "origin": origin_of(request)}
    with refusals_told(request):
        service(**asked, **form.cleaned_data)
    return redirect(tab_to_return_to(request, sandbox_id))


@require_POST
@signed_in
def sandbox_end(request: HttpRequest, principal: Principal, sandbox_id: str) -> HttpResponse:
    """Terminate, for good."""
    with refusals_told(request):
        async_to_sync(sandbox_terminate)(
            principal=principal, sandbox_id=sandbox_id, origin=origin_of(request)
        )
    return redirect(tab_to_return_to(request, sandbox_id))


def _wanted(request: HttpRequest) -> Filter:
    """What the address narrows the timeline to."""
    query = request.GET
    return Filter.of(
        show=query.get("show", ""), actor=query.get("actor", ""), text=query.get("q", "")
    )


def _number(request: HttpRequest, name: str) -> int | None:
    """Raises ``ValueError`` for what is not a seq."""
    text = request.GET.get(name)
    if text is None:
        return None
    number = int(text)
    if not 0 <= number <= LAST_SEQ:
        raise ValueError(name)
    return number
