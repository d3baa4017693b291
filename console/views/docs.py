"""For callers of the API the cookbook and the reference, for operators the handbook."""

from __future__ import annotations

from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import render
from django.views.decorators.http import require_safe

from accounts.policy import Principal
from console.handbook import DOCUMENTS, document, listed
from console.recipes import cookbook
from console.reference import reference
from console.signed_in import signed_in
from sandboxes.limits import TEMPLATES
from sandboxes.selectors import limits_of


@require_safe
@signed_in
def docs(request: HttpRequest, principal: Principal) -> HttpResponse:
    """The recipes in each language, with the reader's own address, and a token if they type one."""
    limits = limits_of(principal.account_id)
    context = {"templates": TEMPLATES, "limits": limits, "cookbook": cookbook()}
    return render(request, "console/docs.html", context)


@require_safe
@signed_in
def docs_api(request: HttpRequest, principal: Principal) -> HttpResponse:
    """Every route of `/v1`, as its OpenAPI description has it."""
    return render(request, "console/docs_api.html", {"groups": reference()})


@require_safe
@signed_in
def handbook(request: HttpRequest, principal: Principal, name: str) -> HttpResponse:
    """One of the documents of ``docs/``, as this installation has them."""
    if name not in DOCUMENTS:
        raise Http404(f"The documents are {', '.join(DOCUMENTS)}.")
    context = {"document": document(name), "documents": listed()}
    return render(request, "console/handbook.html", context)
