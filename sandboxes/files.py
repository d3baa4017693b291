"""What people do with the files of a sandbox. Every function asks for the scope and the account
first, raises ``Forbidden``, ``SandboxError`` and ``HostError``, and leaves events like any call."""

from __future__ import annotations

import base64
import binascii
import posixpath
import shlex
from dataclasses import dataclass
from typing import Final

from accounts.database import in_database
from accounts.policy import Principal, Scope, require
from sandboxes.errors import InvalidRequest
from sandboxes.host.transfer_client import TransferClient
from sandboxes.host.types import FILE_LIMIT, Directory, FileContent, HostError, Stat, version
from sandboxes.limits import NAME_BYTES, check_path
from sandboxes.selectors import Target, sandbox_for
from sandboxes.services import check_running, exec_request, host_client

_REMOVE_SECONDS: Final = 60


@dataclass(frozen=True, slots=True)
class Head:
    """The beginning of a file, or all of it. ``version`` tells this state of it from the next."""

    path: str
    content: bytes
    size: int
    mode: int
    modified_at: float

    @property
    def version(self) -> str:
        return version(self.size, self.modified_at)

    @property
    def is_whole(self) -> bool:
        return len(self.content) == self.size


async def folder_list(*, principal: Principal, sandbox_id: str, path: str) -> Directory:
    """A directory's entries, folders first."""
    await _usable(principal, sandbox_id, path, scope=Scope.SANDBOXES_READ)
    found = await host_client().read_path(sandbox_id, path, actor=principal.actor)
    if isinstance(found, FileContent):
        raise HostError("not_a_directory", f"{path} is not a directory; name one.")
    entries = sorted(found.entries, key=lambda entry: (not entry.is_dir, entry.name))
    return Directory(entries, found.truncated)


async def path_stat(*, principal: Principal, sandbox_id: str, path: str) -> Stat:
    """What a path is; nothing at all is an answer too."""
    await _usable(principal, sandbox_id, path, scope=Scope.SANDBOXES_READ)
    return await host_client().stat(sandbox_id, path, actor=principal.actor)


async def file_head(*, principal: Principal, sandbox_id: str, path: str, limit: int) -> Head:
    """At most ``limit`` bytes of a file of any size."""
    await _usable(principal, sandbox_id, path, scope=Scope.SANDBOXES_READ)
    client, actor = TransferClient(host_client().socket_path), principal.actor
    content = bytearray()
    async with client.download(sandbox_id, path, length=limit, actor=actor) as coming:
        while piece := await coming.next():
            content += piece
    return Head(path, bytes(content), coming.size, coming.mode, coming.modified_at)


async def file_save(
    *,
    principal: Principal,
    sandbox_id: str,
    path: str,
    content: bytes,
    replacing: str,
    mode: int = 0o644,
) -> None:
    """Write a file in place of the version it was made from, empty for a new one; file_changed."""
    await _usable(principal, sandbox_id, path)
    await host_client().write_file(
        sandbox_id, path, content, mode=mode, replacing=replacing, actor=principal.actor
    )


async def folder_make(*, principal: Principal, sandbox_id: str, path: str) -> None:
    """A new folder; one that is there already is file_exists."""
    await _usable(principal, sandbox_id, path)
    await host_client().make_dir(sandbox_id, path, parents=False, actor=principal.actor)


async def path_rename(*, principal: Principal, sandbox_id: str, path: str, name: str) -> str:
    """Another name in the same folder; never over something that is there. The new path."""
    there = joined(posixpath.dirname(path), name)
    await _usable(principal, sandbox_id, path)
    check_path(there)
    stat = await host_client().stat(sandbox_id, there, actor=principal.actor)
    if stat.exists:
        raise HostError("file_exists", f"{there} exists already; choose another name.")
    await host_client().move(sandbox_id, path, there, actor=principal.actor)
    return there


async def path_delete(*, principal: Principal, sandbox_id: str, path: str) -> None:
    """Remove a file, or a folder with all in it, which is a command on the timeline."""
    await _usable(principal, sandbox_id, path)
    actor, host = principal.actor, host_client()
    try:
        await host.delete_file(sandbox_id, path, actor=actor)
    except HostError as error:
        if error.code != "is_directory":
            raise
        await _remove_folder(principal, sandbox_id, path)


async def _remove_folder(principal: Principal, sandbox_id: str, path: str) -> None:
    command = exec_request(
        command=f"rm -r -- {shlex.quote(path)}", cwd="/", env={}, timeout_seconds=_REMOVE_SECONDS
    )
    outcome = await host_client().exec(sandbox_id, command, actor=principal.actor)
    if outcome.exit_code != 0:
        said = outcome.stderr.decode("utf-8", "replace").strip()[-300:]
        raise HostError("not_permitted", said or f"{path} could not be removed whole; try again.")


def decoded(text: str) -> bytes:
    """What a caller sent as base64. Raises ``InvalidRequest``, and ``HostError`` too_large."""
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise InvalidRequest("content must be base64, without line breaks.") from None
    return within_limit(content)


def within_limit(content: bytes) -> bytes:
    """``content``, if one request may write it. Raises ``HostError`` too_large."""
    if len(content) > FILE_LIMIT:
        raise HostError("too_large", "A file may be 16 MiB at most; send it in parts.")
    return content


def joined(folder: str, name: str) -> str:
    """A path for a new name. Raises ``InvalidRequest`` for what is no name."""
    if not name or name in {".", ".."} or "/" in name or "\x00" in name:
        raise InvalidRequest("A name is needed, without slashes.")
    if len(name.encode("utf-8", "surrogatepass")) > NAME_BYTES:
        raise InvalidRequest(f"The name is too long; use at most {NAME_BYTES} bytes.")
    return posixpath.join(folder or "/", name)


async def _usable(
    principal: Principal, sandbox_id: str, path: str, *, scope: Scope = Scope.SANDBOXES_WRITE
) -> None:
    require(principal, scope)
    sandbox = await in_database(sandbox_for, principal=principal, sandbox_id=sandbox_id)
    check_running(Target(sandbox.id, sandbox.status, sandbox.reason), sandbox_id=sandbox_id)
    check_path(path)
