"""What a caller notices when a part of the platform is started again: nothing, or what to do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import httpx
from orkestr import Sandbox

from tests.stack import Stack


def test_a_database_that_was_started_again_is_no_error(
    stack: Stack, http: httpx.Client, sandbox: Sandbox
) -> None:
    address = f"/v1/sandboxes/{sandbox.id}"

    def ask(_: int) -> int:
        return http.get(address).status_code

    with ThreadPoolExecutor(20) as pool:
        assert set(pool.map(ask, range(100))) == {200}  # every thread has a connection now
        stack.restart("postgres")
        assert set(pool.map(ask, range(100))) == {200}


def test_without_its_database_it_says_to_try_again(
    stack: Stack, http: httpx.Client, sandbox: Sandbox
) -> None:
    address = f"/v1/sandboxes/{sandbox.id}"
    stack.kill("postgres")
    answer = http.get(address)
    assert (answer.status_code, answer.json()["code"]) == (503, "database_unreachable")
    assert answer.headers["Retry-After"] == str(answer.json()["retry_after"])
    stack.start("postgres")
    assert http.get(address).status_code == 200


def test_without_valkey_sandboxes_are_made_used_and_ended(stack: Stack, http: httpx.Client) -> None:
    stack.kill("valkey")
    made = http.post("/v1/sandboxes", json={"template": "debian-12"})
    assert made.status_code == 201
    address = f"/v1/sandboxes/{made.json()['id']}"
    assert http.post(f"{address}/exec", json={"command": "echo on"}).json()["stdout"] == "on\n"
    assert http.post(f"{address}/timeout", json={"timeout_seconds": 60}).status_code == 200
    assert http.delete(address).status_code == 204
    stack.start("valkey")


def test_a_host_that_was_started_again_still_has_its_sandboxes(
    stack: Stack, sandbox: Sandbox
) -> None:
    sandbox.files.write("/workspace/kept", "as it was")
    stack.restart("host")
    assert sandbox.exec("cat kept").stdout == "as it was"
    assert sandbox.refresh().status == "running"
