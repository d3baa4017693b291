"""Named snapshots: take, list, look at, delete. A create with `snapshot` forks one."""

from __future__ import annotations

from typing import Final

from django.http import HttpResponse
from ninja import Router

from accounts.database import in_database
from sandboxes import snapshots
from sandboxes.api.access import READ, WRITE, ApiRequest
from sandboxes.api.replies import nothing, reply, snapshot_json
from sandboxes.api.schemas import ErrorOut
from sandboxes.api.schemas_snapshots import SnapshotIn, SnapshotOut, SnapshotsOut

router: Final = Router(tags=["Snapshots"])

_ERRORS: Final = {404: ErrorOut, 409: ErrorOut, 422: ErrorOut}


@router.get("/snapshots", auth=READ, response=SnapshotsOut)
async def list_snapshots(request: ApiRequest) -> HttpResponse:
    """All of the account's, newest first."""
    rows = snapshots.snapshots_of(request.auth.principal.account_id)
    found = await in_database(list, rows)
    return reply({"snapshots": [snapshot_json(row) for row in found]})


@router.get("/snapshots/{snapshot_id}", auth=READ, response={200: SnapshotOut, 404: ErrorOut})
async def get_snapshot(request: ApiRequest, snapshot_id: str) -> HttpResponse:
    """One of them."""
    account_id = request.auth.principal.account_id
    snapshot = await in_database(
        snapshots.snapshot_for, account_id=account_id, snapshot_id=snapshot_id
    )
    return reply(snapshot_json(snapshot))


@router.delete("/snapshots/{snapshot_id}", auth=WRITE, response={204: None, 404: ErrorOut})
async def delete_snapshot(request: ApiRequest, snapshot_id: str) -> HttpResponse:
    """Remove it. What was forked from it stays; deleting it again is fine."""
    await snapshots.snapshot_delete(
        principal=request.auth.principal, snapshot_id=snapshot_id, origin=request.auth.origin
    )
    return nothing()


@router.post("/{sandbox_id}/snapshots", auth=WRITE, response={201: SnapshotOut, **_ERRORS})
async def create_snapshot(
    request: ApiRequest, sandbox_id: str, payload: SnapshotIn
) -> HttpResponse:
    """Keep a copy of a running sandbox's files. It stands still for a moment and goes on."""
    snapshot = await snapshots.snapshot_create(
        principal=request.auth.principal,
        sandbox_id=sandbox_id,
        name=payload.name,
        origin=request.auth.origin,
    )
    return reply(snapshot_json(snapshot), status=201)
