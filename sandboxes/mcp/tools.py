"""The tools. Each asks for its scope, reads its arguments strictly, and calls what `/v1` calls."""

from __future__ import annotations

import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

import orjson
from django.http import HttpResponse
from mcp_types import CallToolResult, TextContent, ToolAnnotations
from mcp_types import Tool as Described
from pydantic import BaseModel, ValidationError

from accounts.database import in_database
from accounts.policy import Scope, allows, require
from sandboxes import allowlist, pausing, selectors, services, snapshots
from sandboxes.api.access import Call
from sandboxes.api.awake import awake
from sandboxes.api.errors import Answer, answer_for, exec_failure, failure
from sandboxes.api.replies import (
    file_json,
    limits_json,
    moment_json,
    page_json,
    paused_json,
    sandbox_json,
    text_of,
)
from sandboxes.api.routes.sandboxes import wanted_sandbox
from sandboxes.api.schemas import (
    Body,
    LimitsOut,
    PageOut,
    SandboxIn,
    SandboxOut,
    WrittenOut,
)
from sandboxes.api.schemas_pausing import PausedOut
from sandboxes.api.sentences import sentences
from sandboxes.errors import SandboxNotFound
from sandboxes.files import decoded, file_head, within_limit
from sandboxes.host.types import Directory, HostError
from sandboxes.limits import check_metadata_sought, check_path
from sandboxes.mcp.commands import Tell, command_run
from sandboxes.mcp.failures import failed
from sandboxes.mcp.schemas import (
    READ_BYTES,
    EndedResult,
    ExecArguments,
    ExecResult,
    FolderArguments,
    FolderResult,
    ListArguments,
    NoArguments,
    PathArguments,
    ReadResult,
    SandboxArguments,
    WriteArguments,
)

Json = dict[str, Any]
Answered = Json | HttpResponse
"""What a tool gives, or the failure that `/v1` would answer with."""

T = TypeVar("T", bound=Body)


@dataclass(frozen=True, slots=True)
class Tool:
    """``run`` gets arguments that ``takes`` has read and gives what ``gives`` describes."""

    described: Described
    scope: Scope
    takes: type[Body]
    run: Callable[[Call, Any, Tell | None], Awaitable[Answered]]


TOOLS: Final[dict[str, Tool]] = {}


def tools_for(call: Call) -> list[Described]:
    """Those that the caller's token may call."""
    return [tool.described for tool in TOOLS.values() if allows(call.principal, tool.scope)]


async def tool_call(
    tool: Tool, call: Call, arguments: Mapping[str, Any], *, tell: Tell | None
) -> CallToolResult:
    """What the tool gives. Whatever goes wrong is a result as well, for a model to act on."""
    try:
        require(call.principal, tool.scope)
        answered = await tool.run(call, tool.takes.model_validate(arguments), tell)
    except ValidationError as error:
        answered = failure(Answer(422), sentences(error.errors(include_url=False)))
    except Exception as error:
        answered = answer_for(error)
    if isinstance(answered, HttpResponse):
        return failed(answered)
    text = orjson.dumps(answered).decode()
    return CallToolResult(
        content=[TextContent(type="text", text=text)], structured_content=answered
    )


def _tool(
    scope: Scope,
    takes: type[T],
    gives: type[BaseModel],
    *,
    destroys: bool = False,
    repeats: bool = False,
) -> Callable[[Callable[[Call, T, Tell | None], Awaitable[Answered]]], None]:
    """Puts a function into ``TOOLS`` under its own name, described by its docstring."""

    def put(function: Callable[[Call, T, Tell | None], Awaitable[Answered]]) -> None:
        reads = scope is Scope.SANDBOXES_READ
        hints = ToolAnnotations(
            read_only_hint=reads,
            destructive_hint=destroys,
            idempotent_hint=reads or repeats,
            open_world_hint=False,
        )
        name = function.__name__
        TOOLS[name] = Tool(
            Described(
                name=name,
                title=name.replace("_", " ").capitalize(),
                description=" ".join((function.__doc__ or "").split()),
                input_schema=takes.model_json_schema(),
                output_schema=gives.model_json_schema(mode="serialization"),
                annotations=hints,
            ),
            scope,
            takes,
            function,
        )

    return put


@_tool(Scope.SANDBOXES_WRITE, SandboxIn, SandboxOut)
async def create_sandbox(call: Call, asked: SandboxIn, _: Tell | None) -> Answered:
    """Make an isolated Linux sandbox to run code in. It runs when this answers; use its `id` with
    the other tools. Give a `template` (python-3.12, node-22, debian-12, code-interpreter) or the
    `snapshot` to fork. It ends by itself after `timeout_seconds`."""
    wanted = wanted_sandbox(asked)
    if wanted.snapshot is not None:
        account_id = call.principal.account_id
        wanted = await in_database(snapshots.forked, wanted, account_id=account_id)
    sandbox = await services.sandbox_create(
        principal=call.principal, request=wanted, origin=call.origin
    )
    return sandbox_json(sandbox)


@_tool(Scope.SANDBOXES_READ, NoArguments, LimitsOut)
async def get_sandbox_limits(call: Call, _: NoArguments, __: Tell | None) -> Answered:
    """What the plan covers: sizes, how many sandboxes at once, longest timeout, and the domains
    that a restricted network reaches."""
    await allowlist.registries_refresh(services.host_client())
    return limits_json(await in_database(selectors.limits_of, call.principal.account_id))


@_tool(Scope.SANDBOXES_READ, ListArguments, PageOut)
async def list_sandboxes(call: Call, asked: ListArguments, _: Tell | None) -> Answered:
    """The account's sandboxes, newest first, ended ones among them unless `status` says which."""
    rows = selectors.sandboxes_of(
        call.principal.account_id,
        statuses=[asked.status] if asked.status else [],
        metadata=check_metadata_sought(asked.metadata),
    )
    page = await in_database(selectors.page_of, rows, limit=asked.limit, cursor=asked.cursor)
    return page_json(page)


@_tool(Scope.SANDBOXES_READ, SandboxArguments, SandboxOut)
async def get_sandbox(call: Call, asked: SandboxArguments, _: Tell | None) -> Answered:
    """One sandbox: its status, size, network and when it ends."""
    sandbox = await in_database(
        selectors.sandbox_for, principal=call.principal, sandbox_id=asked.sandbox_id
    )
    return sandbox_json(sandbox)


@_tool(Scope.SANDBOXES_WRITE, ExecArguments, ExecResult, destroys=True)
async def exec_command(call: Call, asked: ExecArguments, tell: Tell | None) -> Answered:
    """Run a command in the sandbox's shell and wait for its end. An exit code other than 0 is a
    result, not an error. Of each stream the first and the last 64 KiB come back. Files and
    processes stay for the next call; directory and variables of the shell do not."""
    await awake(call, asked.sandbox_id)
    wanted = services.exec_request(
        command=asked.command,
        cwd=asked.cwd,
        env=asked.env,
        timeout_seconds=asked.timeout_seconds,
    )
    outcome = await command_run(asked.sandbox_id, wanted, actor=call.principal.actor, tell=tell)
    if outcome.timed_out or outcome.exit_code is None:
        return exec_failure(outcome, timeout_seconds=wanted.timeout_seconds)
    return {
        "stdout": text_of(outcome.stdout),
        "stderr": text_of(outcome.stderr),
        "exit_code": outcome.exit_code,
        "duration_ms": outcome.duration_ms,
        "stdout_dropped": outcome.stdout_dropped,
        "stderr_dropped": outcome.stderr_dropped,
    }


@_tool(Scope.SANDBOXES_WRITE, WriteArguments, WrittenOut, destroys=True, repeats=True)
async def write_file(call: Call, asked: WriteArguments, _: Tell | None) -> Answered:
    """Write a whole file. Its parent directories are made; what was there is replaced."""
    await awake(call, asked.sandbox_id)
    check_path(asked.path)
    is_text = asked.encoding == "text"
    content = _encoded(asked.content) if is_text else decoded(asked.content)
    size = await services.host_client().write_file(
        asked.sandbox_id, asked.path, content, mode=asked.mode, actor=call.principal.actor
    )
    return {"path": asked.path, "bytes_written": size}


@_tool(Scope.SANDBOXES_READ, PathArguments, ReadResult)
async def read_file(call: Call, asked: PathArguments, _: Tell | None) -> Answered:
    """Read a file: its first 256 KiB, as text or, where it is no UTF-8, in base64. `truncated` says
    that there is more; read on with `tail -c +262145` by exec_command."""
    await awake(call, asked.sandbox_id)
    head = await file_head(
        principal=call.principal, sandbox_id=asked.sandbox_id, path=asked.path, limit=READ_BYTES
    )
    content, encoding = _readable(head.content, is_whole=head.is_whole)
    return {
        "path": asked.path,
        "content": content,
        "encoding": encoding,
        "size": head.size,
        "mode": head.mode,
        "modified_at": moment_json(head.modified_at),
        "truncated": not head.is_whole,
    }


@_tool(Scope.SANDBOXES_READ, FolderArguments, FolderResult)
async def list_directory(call: Call, asked: FolderArguments, _: Tell | None) -> Answered:
    """What is in a directory, with sizes, modes and times."""
    await awake(call, asked.sandbox_id)
    check_path(asked.path)
    found = await services.host_client().read_path(
        asked.sandbox_id, asked.path, actor=call.principal.actor
    )
    if not isinstance(found, Directory):
        raise HostError("not_a_directory", f"{asked.path} is a file; use read_file.")
    listed = file_json(asked.path, found)
    return {name: listed[name] for name in ("path", "entries", "truncated")}


@_tool(Scope.SANDBOXES_WRITE, SandboxArguments, PausedOut)
async def pause_sandbox(call: Call, asked: SandboxArguments, _: Tell | None) -> Answered:
    """Hold a sandbox still, with its processes, memory and files, and stop its meter."""
    sandbox = await pausing.sandbox_pause(
        principal=call.principal, sandbox_id=asked.sandbox_id, origin=call.origin
    )
    return paused_json(sandbox)


@_tool(Scope.SANDBOXES_WRITE, SandboxArguments, SandboxOut)
async def resume_sandbox(call: Call, asked: SandboxArguments, _: Tell | None) -> Answered:
    """Let a paused sandbox go on where it was, with a fresh timeout."""
    sandbox = await pausing.sandbox_resume(
        principal=call.principal, sandbox_id=asked.sandbox_id, origin=call.origin
    )
    return sandbox_json(sandbox)


@_tool(Scope.SANDBOXES_WRITE, SandboxArguments, EndedResult, destroys=True, repeats=True)
async def terminate_sandbox(call: Call, asked: SandboxArguments, _: Tell | None) -> Answered:
    """End a sandbox for good, with all that is in it. Ending one that has ended already is fine."""
    await services.sandbox_terminate(
        principal=call.principal, sandbox_id=asked.sandbox_id, origin=call.origin
    )
    ended = call.target
    if ended is None:
        raise SandboxNotFound(asked.sandbox_id)
    status = "failed" if ended.status == "failed" else "terminated"
    return {"sandbox_id": ended.id, "status": status}


def _encoded(text: str) -> bytes:
    """A lone surrogate has no UTF-8; orjson let none in."""
    return within_limit(text.encode("utf-8", "replace"))


def _readable(content: bytes, *, is_whole: bool) -> tuple[str, str]:
    try:
        return content.decode(), "text"
    except UnicodeDecodeError as error:
        # The end of a part may fall into the middle of a character.
        if not is_whole and len(content) - error.start < 4:
            return content[: error.start].decode(), "text"
    return base64.b64encode(content).decode("ascii"), "base64"
