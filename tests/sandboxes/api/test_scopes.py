"""Every route × every scope × own and foreign account."""

from __future__ import annotations

import httpx
import pytest
from orkestr import Sandbox

from tests.cast import Cast
from tests.sandboxes.api.routes import BODIES, Route, all_routes
from tests.stack import Stack

SCOPES = ["sandboxes:read", "sandboxes:write"]
READS = {"presign_download"}
"""What only reads, though it is asked for with POST."""
ABSENT = {"no_such_file", "no_such_command", "interpreter_unavailable"}
"""What a fresh sandbox of the plainest template has not; asking for it was allowed."""
ROUTES = all_routes()
IN_SANDBOX = [route for route in ROUTES if route.in_sandbox]


def ask(
    stack: Stack, route: Route, *, text: str, sandbox_id: str, account: Cast | None = None
) -> httpx.Response:
    return httpx.request(
        route.method,
        stack.url + route.address(sandbox_id, account=account),
        json=route.body,
        headers={"Authorization": f"Bearer {text}"},
        timeout=30,
    )


def test_the_table_is_of_this_api() -> None:
    names = {route.name for route in ROUTES}
    assert len(names) == len(ROUTES) >= 14
    assert set(BODIES) <= names
    assert {route.scope for route in ROUTES} == set(SCOPES)


def test_reading_asks_for_read_and_all_else_for_write() -> None:
    for route in ROUTES:
        reads = route.method == "GET" or route.name in READS
        wanted = "sandboxes:read" if reads else "sandboxes:write"
        assert route.scope == wanted, route


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_a_token_does_what_its_scope_says_and_no_more(
    stack: Stack, account: Cast, sandbox: Sandbox, route: Route
) -> None:
    if route.name == "resume_sandbox":
        sandbox.pause()
    for scope in SCOPES:
        text = account.mint(scopes=[scope]).text
        answer = ask(stack, route, text=text, sandbox_id=sandbox.id, account=account)
        if scope == route.scope:
            assert answer.status_code < 300 or answer.json().get("code") in ABSENT
        else:
            assert answer.status_code == 403
            assert route.scope in answer.json()["detail"]


@pytest.mark.parametrize("route", IN_SANDBOX, ids=lambda route: route.name)
def test_a_foreign_sandbox_is_answered_like_an_absent_one(
    stack: Stack, sandbox: Sandbox, other_account: Cast, route: Route
) -> None:
    text = other_account.mint().text
    absent_id = "sbx_" + "0" * 26
    foreign = ask(stack, route, text=text, sandbox_id=sandbox.id)
    absent = ask(stack, route, text=text, sandbox_id=absent_id)
    assert foreign.status_code == absent.status_code == 404
    assert foreign.text.replace(sandbox.id, "") == absent.text.replace(absent_id, "")
    assert sandbox.refresh().status == "running"


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: route.name)
def test_without_a_token_no_route_says_anything(stack: Stack, route: Route) -> None:
    address = stack.url + route.address("sbx_" + "0" * 26)
    assert httpx.request(route.method, address, content=b"{broken").status_code == 401
