"""Files of a sandbox: whole ones in base64, directories, and what a path is."""

from __future__ import annotations

from typing import Any, Final

from django.http import HttpResponse
from ninja import Query, Router

from sandboxes.api.access import READ, WRITE, ApiRequest
from sandboxes.api.awake import awake
from sandboxes.api.replies import file_json, nothing, reply, stat_json
from sandboxes.api.schemas import (
    BatchIn,
    BatchOut,
    DirectoryIn,
    ErrorOut,
    FileIn,
    FileOut,
    MoveIn,
    MoveOut,
    PathOut,
    PathQuery,
    StatOut,
    WrittenOut,
)
from sandboxes.errors import InvalidRequest
from sandboxes.files import decoded
from sandboxes.host.types import HostError
from sandboxes.limits import check_path
from sandboxes.services import host_client

router: Final = Router(tags=["Files"])

_ERRORS: Final = {403: ErrorOut, 404: ErrorOut, 409: ErrorOut, 413: ErrorOut, 422: ErrorOut}


@router.post("/{sandbox_id}/files", auth=WRITE, response={200: WrittenOut, **_ERRORS})
async def write_file(request: ApiRequest, sandbox_id: str, payload: FileIn) -> HttpResponse:
    """Write a whole file. Its parent directories are made."""
    await awake(request.auth, sandbox_id)
    size = await _write(request, sandbox_id, payload)
    return reply({"path": payload.path, "bytes_written": size})


@router.get("/{sandbox_id}/files", auth=READ, response={200: FileOut, **_ERRORS})
async def read_path(request: ApiRequest, sandbox_id: str, query: Query[PathQuery]) -> HttpResponse:
    """A file's content, or a directory's entries."""
    await awake(request.auth, sandbox_id)
    check_path(query.path)
    actor = request.auth.principal.actor
    found = await host_client().read_path(sandbox_id, query.path, actor=actor)
    return reply(file_json(query.path, found))


@router.delete("/{sandbox_id}/files", auth=WRITE, response={204: None, **_ERRORS})
async def delete_file(
    request: ApiRequest, sandbox_id: str, query: Query[PathQuery]
) -> HttpResponse:
    """Remove a file. A directory is refused."""
    await awake(request.auth, sandbox_id)
    check_path(query.path)
    await host_client().delete_file(sandbox_id, query.path, actor=request.auth.principal.actor)
    return nothing()


@router.post("/{sandbox_id}/files/mkdir", auth=WRITE, response={201: PathOut, **_ERRORS})
async def make_directory(
    request: ApiRequest, sandbox_id: str, payload: DirectoryIn
) -> HttpResponse:
    """Make a directory; with `parents` also those above it, and one that is there is fine."""
    await awake(request.auth, sandbox_id)
    check_path(payload.path)
    await host_client().make_dir(
        sandbox_id, payload.path, parents=payload.parents, actor=request.auth.principal.actor
    )
    return reply({"path": payload.path}, status=201)


@router.post("/{sandbox_id}/files/move", auth=WRITE, response={200: MoveOut, **_ERRORS})
async def move_path(request: ApiRequest, sandbox_id: str, payload: MoveIn) -> HttpResponse:
    """Move or rename a file or directory."""
    await awake(request.auth, sandbox_id)
    check_path(payload.source, name="source")
    check_path(payload.destination, name="destination")
    await host_client().move(
        sandbox_id, payload.source, payload.destination, actor=request.auth.principal.actor
    )
    return reply({"source": payload.source, "destination": payload.destination})


@router.get("/{sandbox_id}/files/stat", auth=READ, response={200: StatOut, **_ERRORS})
async def stat_path(request: ApiRequest, sandbox_id: str, query: Query[PathQuery]) -> HttpResponse:
    """What a path is. One that is not there is an answer, not an error."""
    await awake(request.auth, sandbox_id)
    check_path(query.path)
    stat = await host_client().stat(sandbox_id, query.path, actor=request.auth.principal.actor)
    return reply(stat_json(stat))


@router.post("/{sandbox_id}/files/batch", auth=WRITE, response={200: BatchOut, **_ERRORS})
async def write_batch(request: ApiRequest, sandbox_id: str, payload: BatchIn) -> HttpResponse:
    """Write up to 64 files. Each has a row of its own in the answer, in the same order."""
    await awake(request.auth, sandbox_id)
    rows = [await _batch_row(request, sandbox_id, one) for one in payload.files]
    return reply({"results": rows})


async def _batch_row(request: ApiRequest, sandbox_id: str, payload: FileIn) -> dict[str, Any]:
    try:
        size = await _write(request, sandbox_id, payload)
    except HostError as error:
        return _bad_row(payload, error.code, error.message)
    except InvalidRequest as error:
        return _bad_row(payload, "invalid", str(error))
    return {"path": payload.path, "bytes_written": size}


def _bad_row(payload: FileIn, code: str, message: str) -> dict[str, Any]:
    error = {"code": code, "message": message}
    return {"path": payload.path, "bytes_written": None, "error": error}


async def _write(request: ApiRequest, sandbox_id: str, payload: FileIn) -> int:
    check_path(payload.path)
    return await host_client().write_file(
        sandbox_id,
        payload.path,
        decoded(payload.content),
        mode=payload.mode,
        actor=request.auth.principal.actor,
    )
