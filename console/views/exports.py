"""A run as a file."""

from __future__ import annotations

from collections.abc import AsyncIterator

from django.http import Http404, HttpRequest
from django.http.response import HttpResponseBase
from django.views.decorators.http import require_GET

from accounts.origin import origin_of
from accounts.policy import Principal, Scope, require
from accounts.services import audit_record
from console.exports.cast import asciicast
from console.exports.download import download
from console.exports.lines import json_lines
from console.exports.page import facts, offline_page
from console.signed_in import signed_in
from sandboxes.models import Sandbox
from sandboxes.selectors import sandbox_for
from timeline.selectors import events_after, last_seq

TYPES = {
    "html": "text/html; charset=utf-8",
    "cast": "application/x-asciicast",
    "jsonl": "application/x-ndjson",
}


@require_GET
@signed_in
def export(
    request: HttpRequest, principal: Principal, sandbox_id: str, form: str
) -> HttpResponseBase:
    """Up to what is stored when it is asked for; ``x-events`` says how many events that is."""
    require(principal, Scope.SANDBOXES_READ)
    if form not in TYPES:
        raise Http404("A run is exported as html, cast or jsonl.")
    found = sandbox_for(principal=principal, sandbox_id=sandbox_id)
    last = last_seq(sandbox_id=found.id)
    audit_record(
        principal=principal,
        action="sandbox.exported",
        target=found.id,
        after={"format": form, "events": last},
        origin=origin_of(request),
    )
    pieces = _pieces(found, form, last)
    response = download(pieces, name=f"{found.id}.{form}", content_type=TYPES[form])
    response["x-events"] = str(last)
    return response


def _pieces(sandbox: Sandbox, form: str, last: int) -> AsyncIterator[bytes]:
    if form == "jsonl":
        return json_lines(sandbox_id=sandbox.id, last=last)
    first = events_after(sandbox_id=sandbox.id, limit=1)
    began = first[0].at if first else int(sandbox.created_at.timestamp() * 1_000_000)
    if form == "cast":
        return asciicast(sandbox_id=sandbox.id, last=last, began=began)
    return offline_page(facts(sandbox, began=began, last=last))
