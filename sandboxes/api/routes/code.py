"""The interpreter: cells of code, and the contexts that they run in."""

from __future__ import annotations

from typing import Final

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from ninja import Router

from sandboxes.api.access import READ, WRITE, ApiRequest
from sandboxes.api.awake import awake
from sandboxes.api.code_stream import code_response, code_stream_response
from sandboxes.api.replies import context_json, nothing, reply
from sandboxes.api.schemas import ErrorOut
from sandboxes.api.schemas_code import CodeIn, CodeOut, ContextIn, ContextOut, ContextsOut
from sandboxes.code import code_client, code_request, context_home, context_named, new_context_id

router: Final = Router(tags=["Code"])

_ERRORS: Final = {404: ErrorOut, 409: ErrorOut, 422: ErrorOut}


@router.post("/{sandbox_id}/code", auth=WRITE, response={200: CodeOut, **_ERRORS})
async def run_code(request: ApiRequest, sandbox_id: str, payload: CodeIn) -> HttpResponseBase:
    """Run a cell of code in an interpreter that keeps its variables.

    With `stream` the answer is `text/event-stream`: `stream`, `result` and `error` as they come,
    then `done`. When its time is over the cell is interrupted and its context lives on. A caller
    who goes away does not stop the cell.
    """
    await awake(request.auth, sandbox_id)
    wanted = code_request(
        code=payload.code,
        language=payload.language,
        context_id=payload.context_id,
        timeout_seconds=payload.timeout_seconds,
    )
    if payload.stream:
        return await code_stream_response(request.auth.principal, sandbox_id, wanted)
    return await code_response(request.auth.principal, sandbox_id, wanted)


@router.post("/{sandbox_id}/code/contexts", auth=WRITE, response={201: ContextOut, **_ERRORS})
async def create_context(request: ApiRequest, sandbox_id: str, payload: ContextIn) -> HttpResponse:
    """A context with variables of its own, whose interpreter is ready when this answers."""
    await awake(request.auth, sandbox_id)
    actor = request.auth.principal.actor
    cwd = context_home(payload.cwd)
    info = await code_client().code_create(sandbox_id, new_context_id(), cwd=cwd, actor=actor)
    return reply(context_json(info), status=201)


@router.get("/{sandbox_id}/code/contexts", auth=READ, response={200: ContextsOut, **_ERRORS})
async def list_contexts(request: ApiRequest, sandbox_id: str) -> HttpResponse:
    """Those there are; the default one once it has been used."""
    await awake(request.auth, sandbox_id)
    rows = [context_json(info) for info in await code_client().code_contexts(sandbox_id)]
    return reply({"contexts": rows, "total": len(rows)})


@router.post(
    "/{sandbox_id}/code/contexts/{context_id}/restart",
    auth=WRITE,
    response={200: ContextOut, **_ERRORS},
)
async def restart_context(request: ApiRequest, sandbox_id: str, context_id: str) -> HttpResponse:
    """The same context with nothing in it. A cell that runs in it ends."""
    await awake(request.auth, sandbox_id)
    actor = request.auth.principal.actor
    name = context_named(context_id)
    info = await code_client().code_restart(sandbox_id, name, actor=actor)
    return reply(context_json(info))


@router.delete(
    "/{sandbox_id}/code/contexts/{context_id}", auth=WRITE, response={204: None, **_ERRORS}
)
async def remove_context(request: ApiRequest, sandbox_id: str, context_id: str) -> HttpResponse:
    """End its interpreter for good. The default one comes back, empty, when it is used again."""
    await awake(request.auth, sandbox_id)
    actor = request.auth.principal.actor
    await code_client().code_remove(sandbox_id, context_named(context_id), actor=actor)
    return nothing()
