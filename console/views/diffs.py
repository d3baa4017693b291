"""What a write changed, and all the writes of one file."""

from __future__ import annotations

from typing import Any, Final

from django.http import Http404, HttpRequest, HttpResponse, HttpResponseBadRequest
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.policy import Principal, Scope, require
from console.diffs import diff_lines
from console.signed_in import signed_in
from sandboxes.selectors import sandbox_for
from timeline.events import LAST_SEQ, Event, Kind
from timeline.selectors import event_at, writes_before

PAGE: Final = 25
#: Characters of diffs that a page of a file's history shows at once; the others open on demand.
SHOWN: Final = 60_000


@require_safe
@signed_in
def diff(request: HttpRequest, principal: Principal, sandbox_id: str, seq: int) -> HttpResponse:
    """The lines of one write."""
    require(principal, Scope.SANDBOXES_READ)
    found = sandbox_for(principal=principal, sandbox_id=sandbox_id)
    event = event_at(sandbox_id=found.id, seq=min(seq, LAST_SEQ))
    if event is None or event.kind != Kind.FILE_WRITTEN:
        raise Http404("There is no such write.")
    return render(request, "console/parts/diff.html", _diff(event))


@require_safe
@signed_in
def history(request: HttpRequest, principal: Principal, sandbox_id: str) -> HttpResponse:
    """Every write of a path in this run, newest first, each with what it changed."""
    require(principal, Scope.SANDBOXES_READ)
    found = sandbox_for(principal=principal, sandbox_id=sandbox_id)
    path = request.GET.get("path", "")
    before = request.GET.get("before")
    if before is not None and not (before.isascii() and before.isdigit() and len(before) < 19):
        return HttpResponseBadRequest("before is the number of an event.")
    events = writes_before(
        sandbox_id=found.id, path=path, before=int(before) if before else None, limit=PAGE + 1
    )
    context = {
        "sandbox": found,
        "path": path,
        "writes": _writes(events[:PAGE]),
        "older": events[PAGE - 1].seq if len(events) > PAGE else None,
        "is_first_page": before is None,
    }
    return render(request, "console/file_history.html", context)


def _writes(events: list[Event]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    room = SHOWN
    for event in events:
        size = len(event.data.get("diff") or "")
        is_shown = room >= size or not rows
        room -= size if is_shown else 0
        rows.append({"event": event, "shown": is_shown, **(_diff(event) if is_shown else {})})
    return rows


def _diff(event: Event) -> dict[str, Any]:
    data = event.data
    return {
        "lines": diff_lines(data),
        "left_out": data.get("diff_left_out"),
        "no_diff": data.get("no_diff"),
        "created": data.get("created"),
        "unchanged": data.get("diff") == "" and not data.get("created"),
    }
