"""A command by MCP beside the same by the API: the same sandbox and connection, in turn."""

from __future__ import annotations

import statistics
from functools import partial
from typing import Any, Final

import httpx
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from orkestr import Sandbox

from tests.bench.platform import Bench
from tests.bench.report import Row, milliseconds
from tests.bench.speed import timed

_PATH: Final = "/api/sandboxes/mcp"
_VERSION: Final = MODERN_PROTOCOL_VERSIONS[-1]
_ERAS: Final = {
    _VERSION: {"Mcp-Method": "tools/call", "Mcp-Name": "exec_command"},
    "2025-11-25": {},
}


def _message(version: str, sandbox_id: str) -> dict[str, Any]:
    params: dict[str, Any] = {
        "name": "exec_command",
        "arguments": {"sandbox_id": sandbox_id, "command": "true"},
    }
    if version == _VERSION:
        prefix = "io.modelcontextprotocol/"
        params["_meta"] = {prefix + "protocolVersion": version, prefix + "clientCapabilities": {}}
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}


def exec_command(bench: Bench) -> list[Row]:
    """`exec_command` of `true` in both eras of the protocol, in turn with `POST …/exec`."""
    samples: dict[str, list[float]] = {"rest": [], **{version: [] for version in _ERAS}}
    accept = {"Accept": "application/json, text/event-stream"}
    bearer = {"Authorization": f"Bearer {bench.cast.mint().text}"}
    with (
        Sandbox.create(template="debian-12") as sandbox,
        httpx.Client(base_url=bench.stack.url, headers=bearer) as http,
    ):
        route = f"/v1/sandboxes/{sandbox.id}/exec"
        calls = {"rest": partial(http.post, route, json={"command": "true"})}
        for version, headers in _ERAS.items():
            sent = {**accept, **headers, "MCP-Protocol-Version": version}
            message = _message(version, sandbox.id)
            calls[version] = partial(http.post, _PATH, json=message, headers=sent)
        for call in calls.values():
            answer = call()
            assert '"exit_code":0' in answer.text.replace("\\", ""), answer.text
        for _ in range(bench.many(300)):
            for name, call in calls.items():
                samples[name].append(timed(call))
    return [_row(version, samples[version], samples["rest"]) for version in _ERAS]


def _row(version: str, ours: list[float], rest: list[float]) -> Row:
    ratio = statistics.median(ours) / statistics.median(rest)
    return Row(
        what=f"MCP `exec_command` of `true`, protocol {version}",
        measured=milliseconds(ours),
        against=f"`POST …/exec`: {milliseconds(rest)} (ratio {ratio:.2f})",
        target="≤ 1.5 × p50",
        met=ratio <= 1.5,
    )


MEASUREMENTS: Final = {"mcp": exec_command}
