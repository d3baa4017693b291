"""The audit record: who did what, when, from where, before and after."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.utils import timezone
from django.views.decorators.cache import never_cache
from django.views.decorators.http import require_GET, require_safe

from accounts.acts import ACTS, AREAS
from accounts.audit import Cursor, audit_newest, audit_page
from accounts.origin import origin_of
from accounts.policy import Principal, Scope, require
from accounts.services import audit_record
from console.audit_rows import asked, audit_rows
from console.exports import audit as files
from console.exports.cells import csv_lines
from console.exports.download import download
from console.signed_in import signed_in

FORMS = {
    "csv": ("text/csv; charset=utf-8", csv_lines([files.COLUMNS]), files.entry_lines),
    "jsonl": ("application/x-ndjson", b"", files.json_lines),
}


@never_cache
@require_safe
@signed_in
def audit(request: HttpRequest, principal: Principal) -> HttpResponse:
    """A page of the record, newest first, narrowed by what the address says."""
    require(principal, Scope.AUDIT_READ)
    wanted = asked(request.GET)
    before = _before(request)
    page = audit_page(account_id=principal.account_id, narrowed=wanted.filter(), before=before)
    context = {
        "page": page,
        "rows": audit_rows(page.entries),
        "asked": wanted,
        "values": wanted.values,
        "areas": _areas(),
        "is_first": before is None,
    }
    part = request.headers.get("HX-Target") == "audit"
    template = "console/parts/audit_list.html" if part else "console/audit.html"
    response = render(request, template, context)
    response["Vary"] = "HX-Request"
    return response


@require_GET
@signed_in
def audit_export(request: HttpRequest, principal: Principal, form: str) -> HttpResponseBase:
    """All that matches, as a file; that it was taken is on the record too."""
    require(principal, Scope.AUDIT_READ)
    if form not in FORMS:
        raise Http404("The audit record is exported as csv or jsonl.")
    wanted = asked(request.GET)
    newest = audit_newest(principal.account_id)
    after = {"format": form, **{name: value for name, value in wanted.values.items() if value}}
    audit_record(
        principal=principal, action="audit.exported", after=after, origin=origin_of(request)
    )
    content_type, head, lines = FORMS[form]
    pieces = files.audit_pieces(
        account_id=principal.account_id,
        narrowed=wanted.filter(),
        newest=newest,
        head=head,
        lines=lines,
    )
    name = f"audit-{timezone.now():%Y%m%d-%H%M%S}.{form}"
    return download(pieces, name=name, content_type=content_type)


def _before(request: HttpRequest) -> Cursor | None:
    text = request.GET.get("cursor", "")
    if not text:
        return None
    cursor = Cursor.parse(text)
    if cursor is None:
        raise Http404("This page of the record is not one of its pages.")
    return cursor


def _areas() -> list[tuple[str, str, list[tuple[str, str]]]]:
    """For the choice of an action: area, its words, its actions with theirs."""
    return [
        (area, words, [one for one in ACTS.items() if one[0].partition(".")[0] == area])
        for area, words in AREAS.items()
    ]
