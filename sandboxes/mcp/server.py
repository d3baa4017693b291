"""The protocol's side of the tools: which there are for a caller, and a call of one."""

from __future__ import annotations

from typing import Any, Final

from mcp.server.context import ServerRequestContext
from mcp.server.lowlevel.server import Server
from mcp.shared.exceptions import MCPError
from mcp_types import (
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    PaginatedRequestParams,
)
from starlette.requests import Request

from sandboxes.api.access import Call
from sandboxes.mcp.commands import Tell
from sandboxes.mcp.tools import TOOLS, tool_call, tools_for

CALL: Final = "orkestr.call"
"""Where a request's ASGI scope holds its ``Call``."""

INSTRUCTIONS: Final = """Isolated Linux sandboxes for code that should not run on this machine.
Make one with create_sandbox, work in it with exec_command, write_file, read_file and
list_directory, and end it with terminate_sandbox. Files and processes stay from call to call.
pause_sandbox keeps one for later without cost; resume_sandbox goes on with it. People may be
watching what happens in a sandbox."""

Context = ServerRequestContext[Any, Request]


async def _list(context: Context, _: PaginatedRequestParams | None) -> ListToolsResult:
    return ListToolsResult(tools=tools_for(_call_of(context)), cache_scope="private")


async def _call(context: Context, params: CallToolRequestParams) -> CallToolResult:
    tool = TOOLS.get(params.name)
    if tool is None:
        raise MCPError(INVALID_PARAMS, f"There is no tool {params.name[:100]}; see tools/list.")
    arguments = params.arguments or {}
    return await tool_call(tool, _call_of(context), arguments, tell=_tell(context))


def _call_of(context: Context) -> Call:
    assert context.request is not None  # noqa: S101 - there is no other transport
    call: Call = context.request.scope[CALL]
    return call


def _tell(context: Context) -> Tell | None:
    """How to tell progress, for a caller who asked for it."""
    if not context.meta or context.meta.get("progress_token") is None:
        return None
    return context.session.report_progress


def _input_schema(name: str) -> dict[str, Any] | None:
    tool = TOOLS.get(name)
    return tool.described.input_schema if tool else None


server: Final[Server[Any]] = Server(
    "orkestr",
    title="Orkestr sandboxes",
    version="1",
    instructions=INSTRUCTIONS,
    get_tool_input_schema=_input_schema,
    on_list_tools=_list,
    on_call_tool=_call,
)
# Spans that nobody collects cost each call a tenth of a millisecond.
server.middleware.clear()
