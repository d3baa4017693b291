"""Running commands: buffered as JSON, or streamed as server-sent events."""

from __future__ import annotations

from typing import Final

from django.http.response import HttpResponseBase
from ninja import Router

from sandboxes import services
from sandboxes.api.access import WRITE, ApiRequest
from sandboxes.api.awake import awake
from sandboxes.api.errors import exec_failure
from sandboxes.api.outputs import exec_reply
from sandboxes.api.schemas import ErrorOut, ExecIn, ExecOut
from sandboxes.api.streams import exec_stream_response
from sandboxes.host.types import ExecRequest

router: Final = Router(tags=["Commands"])


@router.post(
    "/{sandbox_id}/exec",
    auth=WRITE,
    response={200: ExecOut, 404: ErrorOut, 408: ErrorOut, 409: ErrorOut, 422: ErrorOut},
)
async def exec_command(request: ApiRequest, sandbox_id: str, payload: ExecIn) -> HttpResponseBase:
    """Run a command in the sandbox's shell.

    With `stream` the answer is `text/event-stream`: `exec_started`, `exec_chunk` (base64 `data`),
    then `exec_exited` or `error`. A caller who goes away does not stop the command.
    """
    await awake(request.auth, sandbox_id)
    wanted = services.exec_request(
        command=payload.command,
        cwd=payload.cwd,
        env=payload.env,
        timeout_seconds=payload.timeout_seconds,
    )
    if payload.stream:
        return await exec_stream_response(request.auth.principal, sandbox_id, wanted)
    return await _buffered(request, sandbox_id, wanted)


async def _buffered(request: ApiRequest, sandbox_id: str, wanted: ExecRequest) -> HttpResponseBase:
    actor = request.auth.principal.actor
    outcome = await services.host_client().exec(sandbox_id, wanted, actor=actor)
    if outcome.timed_out or outcome.exit_code is None:
        return exec_failure(outcome, timeout_seconds=wanted.timeout_seconds)
    return exec_reply(outcome)
