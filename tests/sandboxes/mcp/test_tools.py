"""The tools of /api/sandboxes/mcp, called by the official client."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from mcp.client.client import Client, ConnectMode
from mcp.shared.exceptions import MCPError
from mcp_types import CallToolResult, TextContent
from orkestr import Sandbox
from orkestr._client import OrkestrClient

from sandboxes.mcp.failures import META
from tests.cast import Cast
from tests.sandboxes.mcp.conftest import Caller
from tests.waiting import until
from timeline.selectors import events_after

NAMES = {
    "create_sandbox",
    "get_sandbox_limits",
    "list_sandboxes",
    "get_sandbox",
    "exec_command",
    "write_file",
    "read_file",
    "list_directory",
    "pause_sandbox",
    "resume_sandbox",
    "terminate_sandbox",
}


def good(result: CallToolResult) -> Any:
    """What the tool gave, once in the structure and once as text of the same JSON."""
    assert not result.is_error, result.content
    return result.structured_content


def sentence(result: CallToolResult) -> str:
    assert result.is_error, result.structured_content
    (content,) = result.content
    assert isinstance(content, TextContent)
    return content.text


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_an_agent_makes_a_sandbox_works_in_it_and_ends_it(
    call: Caller, token: str, sandbox_client: OrkestrClient, mode: ConnectMode
) -> None:
    async def talk(client: Client) -> str:
        tools = (await client.list_tools()).tools
        assert {tool.name for tool in tools} == NAMES
        assert all(tool.output_schema and tool.description for tool in tools)
        limits = good(await client.call_tool("get_sandbox_limits"))
        assert limits["max_concurrent"] > 0
        made = good(
            await client.call_tool(
                "create_sandbox", {"template": "debian-12", "metadata": {"by": mode}}
            )
        )
        here = {"sandbox_id": made["id"]}
        path = {**here, "path": "/workspace/a/été.txt"}
        wrote = good(await client.call_tool("write_file", {**path, "content": "été\n"}))
        assert wrote["bytes_written"] == 6
        read = good(await client.call_tool("read_file", path))
        assert (read["content"], read["encoding"], read["truncated"]) == ("été\n", "text", False)
        listed = good(await client.call_tool("list_directory", here))
        assert [entry["name"] for entry in listed["entries"]] == ["a"]
        ran = good(
            await client.call_tool(
                "exec_command", {**here, "command": "cat a/*; echo no >&2; false"}
            )
        )
        assert (ran["stdout"], ran["stderr"], ran["exit_code"]) == ("été\n", "no\n", 1)
        assert good(await client.call_tool("pause_sandbox", here))["status"] == "paused"
        assert good(await client.call_tool("get_sandbox", here))["status"] == "paused"
        assert "resume it first" in sentence(
            await client.call_tool("exec_command", {**here, "command": "true"})
        )
        assert good(await client.call_tool("resume_sandbox", here))["status"] == "running"
        found = good(
            await client.call_tool(
                "list_sandboxes", {"metadata": {"by": mode}, "status": "running"}
            )
        )
        assert [row["id"] for row in found["sandboxes"]] == [made["id"]]
        for _ in range(2):
            ended = good(await client.call_tool("terminate_sandbox", here))
            assert ended == {"sandbox_id": made["id"], "status": "terminated"}
        return str(made["id"])

    sandbox_id = call(token, talk, mode=mode)
    assert Sandbox.get(sandbox_id, client=sandbox_client).status == "terminated"

    def kinds() -> list[str]:
        return [event.kind for event in events_after(sandbox_id=sandbox_id)]

    until(lambda: "sandbox.terminated" in kinds(), what="all of it is on the timeline")
    assert {"command.exited", "file.written", "file.read", "sandbox.paused"} <= set(kinds())


def test_a_token_sees_and_calls_what_its_scopes_allow(
    call: Caller, account: Cast, sandbox: Sandbox
) -> None:
    arguments: dict[str, dict[str, Any]] = {
        "create_sandbox": {"template": "debian-12"},
        "exec_command": {"command": "true"},
        "write_file": {"path": "/workspace/f", "content": ""},
        "read_file": {"path": "/etc/passwd"},
    }
    without_id = {"create_sandbox", "get_sandbox_limits", "list_sandboxes"}
    reading = {name for name in NAMES if name.startswith(("get_", "list_", "read_"))}

    async def talk(client: Client) -> None:
        seen = {tool.name for tool in (await client.list_tools()).tools}
        assert seen in (reading, NAMES - reading)
        for name in NAMES - seen:
            here = {} if name in without_id else {"sandbox_id": sandbox.id}
            result = await client.call_tool(name, {**here, **arguments.get(name, {})})
            assert "does not have the scope sandboxes:" in sentence(result), name
        if seen == reading:
            for name in reading - without_id:
                here = {"sandbox_id": sandbox.id, **arguments.get(name, {})}
                good(await client.call_tool(name, here))

    for scope in ("sandboxes:read", "sandboxes:write"):
        call(account.mint(scopes=[scope]).text, talk)
    assert sandbox.refresh().status == "running"


def test_a_foreign_sandbox_is_answered_like_an_absent_one(
    call: Caller, other_account: Cast, sandbox: Sandbox
) -> None:
    absent = "sbx_" + "0" * 26
    more = {
        "exec_command": {"command": "true"},
        "write_file": {"path": "/workspace/f", "content": ""},
        "read_file": {"path": "/etc/passwd"},
    }

    async def talk(client: Client) -> None:
        for name in NAMES - {"create_sandbox", "get_sandbox_limits", "list_sandboxes"}:
            said = []
            for sandbox_id in (sandbox.id, absent, "x\x00'"):
                arguments = {"sandbox_id": sandbox_id, **more.get(name, {})}
                result = await client.call_tool(name, arguments)
                said.append(sentence(result).replace(sandbox_id, "it"))
                assert result.meta
                assert result.meta[META]["status"] == 404, name
            assert said[0] == said[1] == said[2], name

    call(other_account.mint().text, talk)
    assert sandbox.refresh().status == "running"


def test_what_makes_no_sense_is_told_in_a_sentence(
    call: Caller, token: str, sandbox: Sandbox
) -> None:
    here = {"sandbox_id": sandbox.id}
    cases: list[tuple[str, dict[str, Any], str]] = [
        ("exec_command", here, "command is missing."),
        ("exec_command", {**here, "command": "true", "timeout_seconds": 0}, "timeout_seconds"),
        ("exec_command", {**here, "command": "true", "timeout_seconds": "9"}, "timeout_seconds"),
        ("exec_command", {**here, "command": "true", "shell": "zsh"}, "shell is not a field"),
        ("exec_command", {**here, "command": "true", "cwd": "tmp"}, "cwd"),
        ("exec_command", {**here, "command": "sleep 9", "timeout_seconds": 1}, "(exec_timeout)"),
        ("exec_command", {**here, "command": "echo so far; kill -9 $$"}, "so far"),
        ("create_sandbox", {}, "Give a template"),
        ("create_sandbox", {"template": "no-such"}, "no-such"),
        ("create_sandbox", {"template": "debian-12", "size": "giant"}, "small, medium, large"),
        ("list_sandboxes", {"cursor": "nonsense"}, "cursor"),
        ("list_sandboxes", {"metadata": {"a": "\x00"}}, "metadata"),
        ("read_file", {**here, "path": "/workspace/none"}, "(no_such_file)"),
        ("read_file", {**here, "path": "/workspace"}, "(is_directory)"),
        ("read_file", {**here, "path": "workspace"}, "path"),
        ("list_directory", {**here, "path": "/etc/passwd"}, "use read_file"),
        ("write_file", {**here, "path": "/etc/x", "content": ""}, "(not_permitted)"),
        (
            "write_file",
            {**here, "path": "/workspace/x", "content": "%", "encoding": "base64"},
            "base64",
        ),
        ("resume_sandbox", here, "not paused"),
    ]

    async def talk(client: Client) -> None:
        for name, arguments, says in cases:
            assert says in sentence(await client.call_tool(name, arguments)), (name, arguments)
        with pytest.raises(MCPError, match="There is no tool rm"):
            await client.call_tool("rm", {})

    call(token, talk)


def test_bytes_and_long_texts_come_back_whole_or_say_what_is_missing(
    call: Caller, token: str, sandbox: Sandbox
) -> None:
    raw = bytes(range(256))
    path = {"sandbox_id": sandbox.id, "path": "/workspace/f"}

    async def talk(client: Client) -> None:
        written = {"content": base64.b64encode(raw).decode(), "encoding": "base64"}
        good(await client.call_tool("write_file", {**path, **written}))
        read = good(await client.call_tool("read_file", path))
        assert (read["encoding"], base64.b64decode(read["content"])) == ("base64", raw)
        good(await client.call_tool("write_file", {**path, "content": "é" * 200_000}))
        read = good(await client.call_tool("read_file", path))
        assert (read["encoding"], read["size"], read["truncated"]) == ("text", 400_000, True)
        assert read["content"] == "é" * (256 * 1024 // 2)
        many = "echo first; head -c 20000000 /dev/zero | tr '\\0' x; echo; echo last"
        ran = good(
            await client.call_tool("exec_command", {"sandbox_id": sandbox.id, "command": many})
        )
        assert ran["stdout"].startswith("first\nx")
        assert ran["stdout"].endswith("x\nlast\n")
        assert ran["stdout_dropped"] == 20_000_012 - 128 * 1024
        assert f"{ran['stdout_dropped']} bytes left out" in ran["stdout"]

    call(token, talk)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_long_command_tells_how_it_gets_on(
    call: Caller, token: str, sandbox: Sandbox, mode: ConnectMode
) -> None:
    told: list[tuple[float, float | None, str | None]] = []

    async def note(progress: float, total: float | None, message: str | None) -> None:
        told.append((progress, total, message))

    async def talk(client: Client) -> None:
        command = "echo one; sleep 1.3; echo two; sleep 1.3"
        arguments = {"sandbox_id": sandbox.id, "command": command, "timeout_seconds": 30}
        ran = good(await client.call_tool("exec_command", arguments, progress_callback=note))
        assert ran["stdout"] == "one\ntwo\n"

    call(token, talk, mode=mode)
    assert [message for *_, message in told] == ["one", "two"]
    assert {total for _, total, _ in told} == {30}
    assert sorted(told) == told


def test_a_paused_sandbox_that_may_wakes_for_a_tool(
    call: Caller, token: str, sandbox_client: OrkestrClient
) -> None:
    with Sandbox.create(template="debian-12", auto_resume=True, client=sandbox_client) as sandbox:
        sandbox.pause()

        async def talk(client: Client) -> None:
            arguments = {"sandbox_id": sandbox.id, "command": "echo awake"}
            assert good(await client.call_tool("exec_command", arguments))["stdout"] == "awake\n"

        call(token, talk)
