"""Parking sandboxes between turns, and waking them."""

from __future__ import annotations

from typing import Final

from django.http import HttpResponse
from ninja import Router

from sandboxes import pausing
from sandboxes.api.access import WRITE, ApiRequest
from sandboxes.api.replies import paused_json, reply, sandbox_json
from sandboxes.api.schemas import ErrorOut, SandboxOut
from sandboxes.api.schemas_pausing import PausedOut

router: Final = Router(tags=["Sandboxes"])


@router.post(
    "/{sandbox_id}/pause", auth=WRITE, response={200: PausedOut, 404: ErrorOut, 409: ErrorOut}
)
async def pause_sandbox(request: ApiRequest, sandbox_id: str) -> HttpResponse:
    """Hold a sandbox still, with its processes, memory and files, and stop its meter."""
    call = request.auth
    sandbox = await pausing.sandbox_pause(
        principal=call.principal, sandbox_id=sandbox_id, origin=call.origin
    )
    return reply(paused_json(sandbox))


@router.post(
    "/{sandbox_id}/resume",
    auth=WRITE,
    response={200: SandboxOut, 403: ErrorOut, 404: ErrorOut, 409: ErrorOut},
)
async def resume_sandbox(request: ApiRequest, sandbox_id: str) -> HttpResponse:
    """Let a paused sandbox go on where it was, with a fresh timeout."""
    call = request.auth
    sandbox = await pausing.sandbox_resume(
        principal=call.principal, sandbox_id=sandbox_id, origin=call.origin
    )
    return reply(sandbox_json(sandbox))
