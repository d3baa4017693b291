"""Persistent volumes: make, list, change, move, delete. A create with `volume` attaches one."""

from __future__ import annotations

from typing import Final

from django.http import HttpResponse
from ninja import Router

from accounts.database import in_database
from sandboxes import volumes
from sandboxes.api.access import READ, WRITE, ApiRequest
from sandboxes.api.replies import nothing, reply, volume_json
from sandboxes.api.schemas import ErrorOut
from sandboxes.api.schemas_volumes import (
    VolumeIn,
    VolumeMoveIn,
    VolumeOut,
    VolumesOut,
    VolumeUpdateIn,
)
from sandboxes.errors import InvalidRequest
from sandboxes.volumes import Lifetime

router: Final = Router(tags=["Volumes"])

_ERRORS: Final = {404: ErrorOut, 409: ErrorOut, 422: ErrorOut}


@router.post(
    "/volumes",
    auth=WRITE,
    response={201: VolumeOut, 403: ErrorOut, 409: ErrorOut, 422: ErrorOut},
)
async def create_volume(request: ApiRequest, payload: VolumeIn) -> HttpResponse:
    """Make an empty volume. Nothing is reserved for it; `size_gb` is what it may hold at most."""
    call = request.auth
    volume = await in_database(
        volumes.volume_create,
        principal=call.principal,
        name=payload.name,
        size_gb=payload.size_gb,
        region=payload.region,
        lifetime=Lifetime(payload.max_lifetime_days, payload.max_lifetime_hours),
        origin=call.origin,
    )
    return reply(volume_json(volume), status=201)


@router.get("/volumes", auth=READ, response=VolumesOut)
async def list_volumes(request: ApiRequest) -> HttpResponse:
    """All of the account's, newest first."""
    rows = volumes.volumes_of(request.auth.principal.account_id)
    found = [volume_json(row) for row in await in_database(list, rows)]
    return reply({"volumes": found, "total": len(found)})


@router.patch("/volumes/{volume_id}", auth=WRITE, response={200: VolumeOut, **_ERRORS})
async def update_volume(
    request: ApiRequest, volume_id: str, payload: VolumeUpdateIn
) -> HttpResponse:
    """Change when it is deleted by itself, counted from its creation; null keeps it for ever."""
    if len(payload.model_fields_set) != 1:
        raise InvalidRequest("Give max_lifetime_days or max_lifetime_hours, one of the two.")
    call = request.auth
    volume = await in_database(
        volumes.volume_update,
        principal=call.principal,
        volume_id=volume_id,
        lifetime=Lifetime(payload.max_lifetime_days, payload.max_lifetime_hours),
        origin=call.origin,
    )
    return reply(volume_json(volume))


@router.post("/volumes/{volume_id}/move", auth=WRITE, response={200: VolumeOut, **_ERRORS})
async def move_volume(request: ApiRequest, volume_id: str, payload: VolumeMoveIn) -> HttpResponse:
    """Have its next sandbox run in another region. Not while a sandbox has it."""
    call = request.auth
    volume = await in_database(
        volumes.volume_move,
        principal=call.principal,
        volume_id=volume_id,
        region=payload.region,
        origin=call.origin,
    )
    return reply(volume_json(volume))


@router.delete(
    "/volumes/{volume_id}", auth=WRITE, response={204: None, 404: ErrorOut, 409: ErrorOut}
)
async def delete_volume(request: ApiRequest, volume_id: str) -> HttpResponse:
    """Remove it with all that is in it. Not while a sandbox has it; twice is fine."""
    call = request.auth
    await volumes.volume_delete(principal=call.principal, volume_id=volume_id, origin=call.origin)
    return nothing()
