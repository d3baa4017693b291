"""Notes and pins beside a timeline. Every answer is the list as it is then."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse, QueryDict
from django.shortcuts import redirect, render
from django.views.decorators.http import require_http_methods, require_POST

from accounts.policy import Principal, Scope, allows, require
from console.refusals import refusals
from console.signed_in import signed_in
from sandboxes.notes import (
    event_pin,
    event_unpin,
    may_change,
    note_add,
    note_edit,
    note_remove,
    note_restore,
    notes_of,
)
from sandboxes.selectors import sandbox_for
from timeline.events import LAST_SEQ


def notes_context(principal: Principal, sandbox_id: str, *, removed: int = 0) -> dict[str, Any]:
    """What the list is rendered from; ``removed`` is the note that can be restored at a click,
    for as long as nobody has."""
    found = notes_of(sandbox_id=sandbox_id)
    may_write = allows(principal, Scope.SANDBOXES_WRITE)
    if not may_write or any(note.seq == removed for note in found.notes):
        removed = 0
    rows = [
        {
            "note": note,
            "may_edit": may_write and may_change(principal, note.actor),
            "may_remove": may_write and may_change(principal, note.actor, owners=True),
        }
        for note in found.notes
    ]
    return {"notes": found, "rows": rows, "may_write": may_write, "removed": removed}


@require_http_methods(["GET", "HEAD", "POST"])
@signed_in
def notes(request: HttpRequest, principal: Principal, sandbox_id: str) -> HttpResponse:
    """The list; a POST adds a note (on the event ``about``) or says ``note`` differently."""
    if request.method != "POST":
        require(principal, Scope.SANDBOXES_READ)
        return _list(request, principal, sandbox_id, removed=_seq(request.GET, "removed") or 0)
    text, note = request.POST.get("text", ""), _seq(request.POST, "note")
    if note is not None:
        return _done(
            request,
            principal,
            sandbox_id,
            lambda: note_edit(principal=principal, sandbox_id=sandbox_id, seq=note, text=text),
        )
    about = _seq(request.POST, "about")
    return _done(
        request,
        principal,
        sandbox_id,
        lambda: note_add(principal=principal, sandbox_id=sandbox_id, text=text, about=about),
    )


@require_POST
@signed_in
def remove(request: HttpRequest, principal: Principal, sandbox_id: str, seq: int) -> HttpResponse:
    """Take a note out of the list; the answer offers to undo it."""
    return _changed(request, principal, sandbox_id, seq, note_remove, removed=seq)


@require_POST
@signed_in
def restore(request: HttpRequest, principal: Principal, sandbox_id: str, seq: int) -> HttpResponse:
    """Undo that."""
    return _changed(request, principal, sandbox_id, seq, note_restore)


@require_POST
@signed_in
def pin(request: HttpRequest, principal: Principal, sandbox_id: str, seq: int) -> HttpResponse:
    """Keep an event at hand."""
    return _changed(request, principal, sandbox_id, seq, event_pin)


@require_POST
@signed_in
def unpin(request: HttpRequest, principal: Principal, sandbox_id: str, seq: int) -> HttpResponse:
    """Let go of it."""
    return _changed(request, principal, sandbox_id, seq, event_unpin)


def _changed(
    request: HttpRequest,
    principal: Principal,
    sandbox_id: str,
    seq: int,
    change: Callable[..., None],
    *,
    removed: int = 0,
) -> HttpResponse:
    if seq > LAST_SEQ:
        raise Http404("There is no such event.")
    return _done(
        request,
        principal,
        sandbox_id,
        lambda: change(principal=principal, sandbox_id=sandbox_id, seq=seq),
        removed=removed,
    )


def _done(
    request: HttpRequest,
    principal: Principal,
    sandbox_id: str,
    change: Callable[[], object],
    *,
    removed: int = 0,
) -> HttpResponse:
    scripted = bool(request.headers.get("HX-Request"))
    with refusals() as refusal:
        change()
    if not scripted:
        refusal.tell(request)
        return redirect("sandbox", sandbox_id)
    if refusal:
        return refusal.to_script()
    return _list(request, principal, sandbox_id, removed=removed)


def _list(
    request: HttpRequest, principal: Principal, sandbox_id: str, *, removed: int = 0
) -> HttpResponse:
    found = sandbox_for(principal=principal, sandbox_id=sandbox_id)
    context = {"sandbox": found, **notes_context(principal, found.id, removed=removed)}
    return render(request, "console/parts/notes_list.html", context)


def _seq(fields: QueryDict, name: str) -> int | None:
    text = fields.get(name, "")
    if not text:
        return None
    if not text.isascii() or not text.isdecimal() or int(text[:20]) > LAST_SEQ:
        raise Http404("There is no such event.")
    return int(text)
