"""The terminals of a sandbox: the page, opening and closing, recordings."""

from __future__ import annotations

from datetime import datetime

from asgiref.sync import async_to_sync
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST, require_safe

from accounts.origin import origin_of
from accounts.policy import Principal, Scope, require
from console.exports.download import download
from console.forms import TerminalSizeForm
from console.moments import asked_moment
from console.refusals import refusals_told
from console.signed_in import signed_in
from sandboxes.host.terminals.types import Size, TerminalInfo, check_terminal_id
from sandboxes.host.types import HostError
from sandboxes.models import Sandbox
from sandboxes.selectors import sandbox_for
from sandboxes.terminals import recording_of, terminal_close, terminal_open, terminals_of


@require_safe
@signed_in
def terminal(request: HttpRequest, principal: Principal, sandbox_id: str) -> HttpResponse:
    """One terminal, open or recorded, and the list of all; ``?t=`` says which."""
    require(principal, Scope.SANDBOXES_READ)
    found = sandbox_for(principal=principal, sandbox_id=sandbox_id)
    return render(request, "console/terminal.html", _context(request, found))


@require_safe
@signed_in
def terminal_list(request: HttpRequest, principal: Principal, sandbox_id: str) -> HttpResponse:
    """The list as it is now."""
    require(principal, Scope.SANDBOXES_READ)
    found = sandbox_for(principal=principal, sandbox_id=sandbox_id)
    return render(request, "console/parts/terminal_list.html", _context(request, found))


def _context(request: HttpRequest, sandbox: Sandbox) -> dict[str, object]:
    rows, trouble = _rows(sandbox)
    numbered = [(number, row) for number, row in enumerate(rows, 1)]
    moment = asked_moment(request)
    chosen = _chosen(rows, request.GET.get("t", ""), moment)
    context = {"sandbox": sandbox, "terminals": numbered, "chosen": chosen, "trouble": trouble}
    if moment and chosen and not chosen.is_open:
        context["second"] = max(0.0, moment.timestamp() - chosen.opened_at / 1e6)
    return context


def _rows(sandbox: Sandbox) -> tuple[list[TerminalInfo], str]:
    try:
        return async_to_sync(terminals_of)(sandbox), ""
    except HostError as error:
        return [], error.message


def _chosen(
    rows: list[TerminalInfo], wanted: str, moment: datetime | None = None
) -> TerminalInfo | None:
    """The one that is asked for, else the last to be opened before a moment, else the newest that
    is open, else the newest of all."""
    by_id = {row.id: row for row in rows}
    if moment and wanted not in by_id:
        begun = [row for row in rows if row.opened_at <= moment.timestamp() * 1e6]
        return next(iter((begun or rows)[::-1]), None)
    opened = [row for row in rows if row.is_open]
    return by_id.get(wanted) or next(iter((opened or rows)[::-1]), None)


@require_POST
@signed_in
def open_terminal(request: HttpRequest, principal: Principal, sandbox_id: str) -> HttpResponse:
    """A new one, in the size that the page has room for."""
    form = TerminalSizeForm(request.POST)
    size = Size(**form.cleaned_data) if form.is_valid() else Size()
    address = reverse("sandbox-terminal", args=[sandbox_id])
    with refusals_told(request):
        row = async_to_sync(terminal_open)(
            principal=principal, sandbox_id=sandbox_id, size=size, origin=origin_of(request)
        )
        address += f"?t={row.id}"
    return redirect(address)


@require_POST
@signed_in
def close_terminal(
    request: HttpRequest, principal: Principal, sandbox_id: str, terminal_id: str
) -> HttpResponse:
    """Hang up; its recording shows then."""
    with refusals_told(request):
        async_to_sync(terminal_close)(
            principal=principal,
            sandbox_id=sandbox_id,
            terminal_id=terminal_id,
            origin=origin_of(request),
        )
    return redirect(f"{reverse('sandbox-terminal', args=[sandbox_id])}?t={terminal_id}")


@require_safe
@signed_in
def recording(
    request: HttpRequest, principal: Principal, sandbox_id: str, terminal_id: str
) -> HttpResponseBase:
    """A recording so far, as asciicast v2 to keep or to play."""
    require(principal, Scope.SANDBOXES_READ)
    found = sandbox_for(principal=principal, sandbox_id=sandbox_id)
    try:
        name = f"{check_terminal_id(terminal_id)}.cast"
        pieces = async_to_sync(recording_of)(found, terminal_id)
    except HostError as error:
        if error.code == "no_such_terminal":
            raise Http404(error.message) from None
        return HttpResponse(error.message, status=503, content_type="text/plain")
    return download(pieces, name=name, content_type="application/x-asciicast")
