"""Background commands: start, list, look at, follow and kill them."""

from __future__ import annotations

from typing import Final

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from ninja import Query, Router

from sandboxes.api.access import READ, WRITE, ApiRequest
from sandboxes.api.awake import awake
from sandboxes.api.replies import command_json, log_json, nothing, reply
from sandboxes.api.schemas import ErrorOut
from sandboxes.api.schemas_background import CommandIn, CommandOut, CommandsOut, LogOut, LogQuery
from sandboxes.api.streams import follow_response
from sandboxes.background import background_client, background_request

router: Final = Router(tags=["Background commands"])

_ERRORS: Final = {404: ErrorOut, 409: ErrorOut, 422: ErrorOut}


@router.post("/{sandbox_id}/commands", auth=WRITE, response={201: CommandOut, **_ERRORS})
async def start_command(request: ApiRequest, sandbox_id: str, payload: CommandIn) -> HttpResponse:
    """Start a command and do not wait for it. It runs until it ends, is killed, or its sandbox
    ends."""
    await awake(request.auth, sandbox_id)
    wanted = background_request(command=payload.command, cwd=payload.cwd, env=payload.env)
    actor = request.auth.principal.actor
    command = await background_client().background_start(sandbox_id, wanted, actor=actor)
    return reply(command_json(command), status=201)


@router.get("/{sandbox_id}/commands", auth=READ, response={200: CommandsOut, **_ERRORS})
async def list_commands(request: ApiRequest, sandbox_id: str) -> HttpResponse:
    """Those that run and those that are over."""
    await awake(request.auth, sandbox_id)
    commands = await background_client().background_list(sandbox_id)
    rows = [command_json(command) for command in commands]
    return reply({"commands": rows, "total": len(rows)})


@router.get("/{sandbox_id}/commands/{command_id}", auth=READ, response={200: CommandOut, **_ERRORS})
async def get_command(request: ApiRequest, sandbox_id: str, command_id: str) -> HttpResponse:
    """One of them, as it stands now."""
    await awake(request.auth, sandbox_id)
    command = await background_client().background_find(sandbox_id, _plain(command_id))
    return reply(command_json(command))


@router.delete("/{sandbox_id}/commands/{command_id}", auth=WRITE, response={204: None, **_ERRORS})
async def kill_command(request: ApiRequest, sandbox_id: str, command_id: str) -> HttpResponse:
    """TERM to its process group, KILL two seconds later. One that is over is left as it is."""
    await awake(request.auth, sandbox_id)
    actor = request.auth.principal.actor
    await background_client().background_kill(sandbox_id, _plain(command_id), actor=actor)
    return nothing()


@router.get(
    "/{sandbox_id}/commands/{command_id}/logs", auth=READ, response={200: LogOut, **_ERRORS}
)
async def read_logs(
    request: ApiRequest, sandbox_id: str, command_id: str, query: Query[LogQuery]
) -> HttpResponseBase:
    """Its output from a byte offset on.

    With `follow` the answer is `text/event-stream` as that of a streamed command, until the command
    ends; after `timeout_seconds` it ends with the error `exec_timeout` and the command runs on.
    """
    await awake(request.auth, sandbox_id)
    name = _plain(command_id)
    if query.follow:
        return await follow_response(
            request.auth.principal,
            sandbox_id,
            name,
            offset=query.offset,
            seconds=query.timeout_seconds,
        )
    part = await background_client().background_read(sandbox_id, name, offset=query.offset)
    return reply(log_json(part, offset=query.offset))


def _plain(command_id: str) -> str:
    """Whatever an address holds, as text that the host takes; no id looks like what is replaced."""
    return command_id.replace("\0", "?").encode("utf-8", "replace").decode()
