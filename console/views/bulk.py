"""Pausing and terminating many at once: first what would happen, then what did."""

from __future__ import annotations

from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.http import require_POST

from accounts.origin import origin_of
from accounts.policy import Principal
from console import boards
from console.refusals import refusals_told
from console.signed_in import signed_in
from sandboxes.bulk import bulk_do, bulk_outlook


@require_POST
@signed_in
def bulk(request: HttpRequest, principal: Principal) -> HttpResponse:
    """Nothing is done before ``confirmed`` says so; the page that asks names the number."""
    query = boards.filters_in(request.POST.get("query", "")).query
    back = f"{reverse('sandboxes')}?{query}" if query else reverse("sandboxes")
    act, ids = request.POST.get("act", ""), request.POST.getlist("id")
    confirmed = "confirmed" in request.POST
    with refusals_told(request):
        if confirmed:
            report = async_to_sync(bulk_do)(
                principal=principal, ids=ids, act=act, origin=origin_of(request)
            )
        else:
            report = bulk_outlook(principal=principal, ids=ids, act=act)
        template = "console/bulk_done.html" if confirmed else "console/bulk.html"
        return render(request, template, {"report": report, "back": back, "back_query": query})
    return redirect(back)
