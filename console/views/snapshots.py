"""Named snapshots: kept copies of sandboxes, from which others are made."""

from __future__ import annotations

from typing import Final

from asgiref.sync import async_to_sync
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST, require_safe

from accounts.origin import origin_of
from accounts.policy import Principal, Scope, require
from accounts.selectors import account_of
from console.refusals import refusals_told
from console.signed_in import signed_in
from console.tabs import tab_to_return_to
from sandboxes.models import SnapshotStatus
from sandboxes.snapshots import snapshot_create, snapshot_delete, snapshot_for, snapshots_of

SHOWN: Final = 200


@require_safe
@signed_in
def snapshots(request: HttpRequest, principal: Principal) -> HttpResponse:
    """All of the account's, newest first, against what the plan keeps."""
    require(principal, Scope.SANDBOXES_READ)
    found = snapshots_of(principal.account_id)
    context = {
        "snapshots": found[:SHOWN],
        "kept": found.exclude(status=SnapshotStatus.FAILED).count(),
        "most": account_of(principal.account_id).plan.max_named_snapshots,
    }
    return render(request, "console/snapshots.html", context)


@require_POST
@signed_in
def snapshot_take(request: HttpRequest, principal: Principal, sandbox_id: str) -> HttpResponse:
    """Keep a copy of a sandbox as it is now; it runs on."""
    with refusals_told(request):
        snapshot = async_to_sync(snapshot_create)(
            principal=principal,
            sandbox_id=sandbox_id,
            name=request.POST.get("name", "").strip(),
            origin=origin_of(request),
        )
        what = "files and processes" if snapshot.includes_memory else "files"
        messages.success(
            request,
            f"Snapshot {snapshot.name or snapshot.id} has its {what} as they were just now. "
            "Fork it from the details.",
        )
    return redirect(tab_to_return_to(request, sandbox_id))


@require_POST
@signed_in
def snapshot_end(request: HttpRequest, principal: Principal, snapshot_id: str) -> HttpResponse:
    """Delete one for good."""
    require(principal, Scope.SANDBOXES_WRITE)
    snapshot = snapshot_for(account_id=principal.account_id, snapshot_id=snapshot_id)
    with refusals_told(request):
        async_to_sync(snapshot_delete)(
            principal=principal, snapshot_id=snapshot.id, origin=origin_of(request)
        )
        messages.success(request, f"Snapshot {snapshot.name or snapshot.id} is deleted.")
    return redirect("snapshots")
