"""Who may speak to /api/sandboxes/mcp at all, how much at once, and for how long."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from orkestr import Sandbox

from accounts.services import token_revoke
from console.mcp_endpoint import CALLS_AT_ONCE
from tests.cast import Cast
from tests.sandboxes.mcp.conftest import PATH
from tests.stack import Stack
from tests.waiting import until

ACCEPT = {"Accept": "application/json, text/event-stream"}


def message(method: str, params: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": 7, "method": method, "params": params or {}}


def exec_message(sandbox: Sandbox, command: str) -> dict[str, Any]:
    arguments = {"sandbox_id": sandbox.id, "command": command, "timeout_seconds": 60}
    return message("tools/call", {"name": "exec_command", "arguments": arguments})


@pytest.fixture
def wire(stack: Stack, token: str) -> Iterator[httpx.Client]:
    headers = {"Authorization": f"Bearer {token}", **ACCEPT}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=60) as client:
        yield client


def event(answer: httpx.Response) -> dict[str, Any]:
    """The one message of an answer."""
    (data,) = [line[6:] for line in answer.text.splitlines() if line.startswith("data: ")]
    parsed: dict[str, Any] = json.loads(data)
    return parsed


def test_a_token_is_asked_for_as_everywhere(wire: httpx.Client, account: Cast) -> None:
    gone = account.mint()
    token_revoke(principal=account.principal(), token_id=gone.token.id)
    for header in ("", "Basic x", "Bearer ork_nonsense", f"Bearer {gone.text}"):
        answer = wire.post(PATH, json=message("tools/list"), headers={"Authorization": header})
        assert answer.status_code == 401, header
        assert answer.headers["WWW-Authenticate"] == "Bearer"
        assert answer.headers["x-request-id"]
        same = wire.get("/v1/sandboxes", headers={"Authorization": header})
        assert answer.json() == same.json()


def test_other_hosts_and_origins_are_refused(wire: httpx.Client, stack: Stack) -> None:
    def ask(**headers: str) -> int:
        return wire.post(PATH, json=message("tools/list"), headers=headers).status_code

    assert ask(Origin=stack.url) == ask(Origin="http://localhost:6274") == 200
    assert ask(Origin="https://evil.example") == ask(Origin="null") == 403
    assert ask(Host="evil.example") == ask(Host="evil.example:80") == 421
    assert ask(Host="localhost") == 200


def test_there_is_nothing_to_get_and_no_session_to_end(wire: httpx.Client) -> None:
    for answer in (wire.get(PATH), wire.delete(PATH)):
        assert (answer.status_code, answer.headers["Allow"]) == (405, "POST")
    assert "mcp-session-id" not in wire.post(PATH, json=message("tools/list")).headers


@pytest.mark.parametrize("body", [b"{broken", b"[]", b"7", b'{"params": 5}', b"\xff", b""])
def test_what_is_no_message_is_refused_by_the_protocol(wire: httpx.Client, body: bytes) -> None:
    answer = wire.post(PATH, content=body, headers={"Content-Type": "application/json"})
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] in (-32700, -32600, -32602)


def test_a_body_beyond_the_limit_is_refused(wire: httpx.Client) -> None:
    answer = wire.post(PATH, content=b" " * (25 * 1024 * 1024))
    assert answer.status_code == 413


def test_a_call_ends_when_its_token_is_revoked_and_the_command_goes_on(
    wire: httpx.Client, account: Cast, sandbox: Sandbox
) -> None:
    minted = account.mint()
    answers: list[tuple[httpx.Response, float]] = []

    def long_call() -> None:
        headers = {"Authorization": f"Bearer {minted.text}"}
        asked = exec_message(sandbox, "touch begun; sleep 4; touch done")
        answer = wire.post(PATH, json=asked, headers=headers)
        answers.append((answer, time.monotonic()))

    calling = threading.Thread(target=long_call)
    calling.start()
    until(lambda: sandbox.files.exists("/workspace/begun"), what="the command runs")
    revoked = time.monotonic()
    token_revoke(principal=account.principal(), token_id=minted.token.id)
    calling.join(timeout=30)
    answer, ended = answers[0]
    assert ended - revoked < 3  # it is a second where nothing else runs
    said = event(answer)
    assert said["id"] == 7
    assert "revoked" in said["error"]["message"]
    until(lambda: sandbox.files.exists("/workspace/done"), what="the command goes on to its end")


def test_a_token_has_so_many_calls_at_once(
    wire: httpx.Client, account: Cast, sandbox: Sandbox
) -> None:
    with ThreadPoolExecutor(CALLS_AT_ONCE + 1) as pool:
        waiting = exec_message(sandbox, "touch begun.$$; until test -e go; do sleep 0.2; done")
        under_way = [pool.submit(wire.post, PATH, json=waiting) for _ in range(CALLS_AT_ONCE)]
        begun = "ls begun.* | wc -l"
        until(lambda: sandbox.exec(begun).stdout.strip() == str(CALLS_AT_ONCE), what="all run")
        one_more = wire.post(PATH, json=message("tools/list"))
        other = {"Authorization": f"Bearer {account.mint().text}"}
        of_another = wire.post(PATH, json=message("tools/list"), headers=other)
        sandbox.files.write("/workspace/go", "")
        assert {call.result(timeout=60).status_code for call in under_way} == {200}
    assert (one_more.status_code, one_more.json()["code"]) == (429, "busy")
    assert one_more.headers["Retry-After"]
    assert of_another.status_code == 200
    assert wire.post(PATH, json=message("tools/list")).status_code == 200


def test_a_restarted_server_goes_on_with_the_same_client(
    wire: httpx.Client, stack: Stack, sandbox: Sandbox
) -> None:
    """Nothing is kept between calls, so it is all the same which process answers."""
    assert wire.post(PATH, json=exec_message(sandbox, "echo 1")).status_code == 200
    stack.restart("asgi")
    ran = event(
        httpx.post(stack.url + PATH, json=exec_message(sandbox, "echo 2"), headers=wire.headers)
    )
    assert ran["result"]["structuredContent"]["stdout"] == "2\n"
