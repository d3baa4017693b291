"""Keeping a list's filters under a name."""

from __future__ import annotations

from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.views.decorators.http import require_POST

from accounts.origin import origin_of
from accounts.policy import Principal
from console import boards
from console.refusals import refusals_told
from console.signed_in import signed_in
from sandboxes.saved_views import saved_view_create, saved_view_delete, saved_view_rename


@require_POST
@signed_in
def save(request: HttpRequest, principal: Principal) -> HttpResponse:
    """Keep the filters in ``query``; ends at the list as it was."""
    query = boards.filters_in(request.POST.get("query", "")).first_query
    with refusals_told(request):
        view = saved_view_create(
            principal=principal,
            name=request.POST.get("name", ""),
            query=query,
            shared="shared" in request.POST,
            origin=origin_of(request),
        )
        messages.success(request, f"The view “{view.name}” is saved.")
    return redirect(f"{reverse('sandboxes')}?{query}")


@require_POST
@signed_in
def rename(request: HttpRequest, principal: Principal, view_id: int) -> HttpResponse:
    """Call one otherwise; ends at what it shows."""
    query = boards.filters_in(request.POST.get("query", "")).first_query
    with refusals_told(request):
        view = saved_view_rename(
            principal=principal,
            view_id=view_id,
            name=request.POST.get("name", ""),
            origin=origin_of(request),
        )
        query = view.query
        messages.success(request, f"The view is called “{view.name}” now.")
    return redirect(f"{reverse('sandboxes')}?{query}")


@require_POST
@signed_in
def delete(request: HttpRequest, principal: Principal, view_id: int) -> HttpResponse:
    """Forget one."""
    name = saved_view_delete(principal=principal, view_id=view_id, origin=origin_of(request))
    messages.success(request, f"The view “{name}” is deleted; its sandboxes are what they were.")
    return redirect("sandboxes")
