"""Tokens at the door of ``/v1``: good ones, bad ones, and the end of one in use."""

from __future__ import annotations

import time
from datetime import timedelta
from threading import Event, Thread

import httpx
import pytest
from django.db import connections
from django.utils import timezone
from orkestr import AuthError, OrkestrError, Sandbox
from orkestr._client import OrkestrClient

from accounts.models import Token
from accounts.services import Minted, token_mint, token_revoke
from accounts.tokens import fresh
from tests.cast import Cast
from tests.stack import Stack
from tests.waiting import until


def ask(stack: Stack, text: str) -> httpx.Response:
    headers = {"Authorization": f"Bearer {text}"}
    return httpx.get(f"{stack.url}/v1/sandboxes", headers=headers)


@pytest.mark.parametrize(
    "header",
    [None, "", "Bearer", "Basic YTpi", "Bearer ork_x", "Bearer " + "x" * 5000, "ork_"],
)
def test_without_a_token_nothing_is_told(stack: Stack, header: str | None) -> None:
    headers = {} if header is None else {"Authorization": header}
    answer = httpx.get(f"{stack.url}/v1/sandboxes", headers=headers)
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert answer.json().keys() == {"detail"}
    assert answer.headers["x-request-id"]


def test_a_token_that_was_never_minted_is_refused(stack: Stack) -> None:
    with pytest.raises(AuthError, match="not known") as caught:
        OrkestrClient(api_key=fresh().text, base_url=stack.url).get("/v1/sandboxes")
    assert caught.value.status_code == 401


def test_the_scheme_may_be_written_in_any_case(stack: Stack, token: str) -> None:
    headers = {"Authorization": f"bearer {token}"}
    assert httpx.get(f"{stack.url}/v1/sandboxes", headers=headers).status_code == 200


def test_an_expired_one_is_refused(stack: Stack, account: Cast) -> None:
    minted = account.mint()
    assert ask(stack, minted.text).status_code == 200
    past = timezone.now() - timedelta(seconds=1)
    Token.objects.filter(id=minted.token.id).update(expires_at=past)
    assert ask(stack, minted.text).status_code == 401


def test_a_revoked_one_is_refused_by_the_very_next_request(stack: Stack, account: Cast) -> None:
    minted = account.mint()
    assert ask(stack, minted.text).status_code == 200
    token_revoke(principal=account.principal(), token_id=minted.token.id)
    answer = ask(stack, minted.text)
    assert (answer.status_code, "revoked" in answer.json()["detail"]) == (401, True)


@pytest.mark.parametrize(("network", "status"), [("127.0.0.0/8", 200), ("192.0.2.0/24", 401)])
def test_it_is_good_from_its_networks_only(
    stack: Stack, account: Cast, network: str, status: int
) -> None:
    minted = token_mint(
        principal=account.principal(),
        name="fenced",
        scopes=["sandboxes:read"],
        allowed_networks=[network],
    )
    assert ask(stack, minted.text).status_code == status


def test_its_use_is_noted(stack: Stack, account: Cast) -> None:
    minted = account.mint()
    headers = {"Authorization": f"Bearer {minted.text}", "User-Agent": "robot/7"}
    httpx.get(f"{stack.url}/v1/sandboxes", headers=headers)

    def noted() -> bool:
        minted.token.refresh_from_db()
        return minted.token.last_used_at is not None

    until(noted, what="last used")
    used = (minted.token.last_used_address, minted.token.last_used_agent)
    assert used == ("127.0.0.1", "robot/7")


def test_a_request_id_is_kept_or_made(http: httpx.Client) -> None:
    answer = http.get("/v1/sandboxes", headers={"x-request-id": "mine-1"})
    assert answer.headers["x-request-id"] == "mine-1"
    made = {http.get("/v1/sandboxes").headers["x-request-id"] for _ in range(2)}
    assert len(made) == 2


def revoke_when(begun: Event, account: Cast, minted: Minted, at: list[float]) -> Thread:
    """Revokes from beside, as an operator would, once the stream has begun."""

    def wait_and_revoke() -> None:
        try:
            if begun.wait(30):
                token_revoke(principal=account.principal(), token_id=minted.token.id)
                at.append(time.monotonic())
        finally:
            connections.close_all()

    thread = Thread(target=wait_and_revoke)
    thread.start()
    return thread


def test_revoking_ends_a_running_stream_and_not_its_command(
    stack: Stack, account: Cast, sandbox: Sandbox, django_db_blocker: object
) -> None:
    minted = account.mint(name="leaving")
    client = OrkestrClient(api_key=minted.text, base_url=stack.url)
    theirs = Sandbox.get(sandbox.id, client=client)
    begun, revoked_at = Event(), list[float]()
    thread = revoke_when(begun, account, minted, revoked_at)
    command = "echo begun; until [ -e go ]; do sleep 0.05; done; touch finished"
    with pytest.raises(OrkestrError, match="revoked"):
        for _ in theirs.exec_stream(command, timeout_seconds=60):
            begun.set()
    ended_at = time.monotonic()
    thread.join(30)
    assert revoked_at, "the stream ended before its token was revoked"
    assert ended_at - revoked_at[0] < 10  # a stream that nobody ends would go on for 60
    sandbox.files.write("/workspace/go", "")
    until(lambda: sandbox.files.exists("/workspace/finished"), what="the command went on")


def test_revoking_ends_a_live_feed(stack: Stack, account: Cast, sandbox: Sandbox) -> None:
    minted = account.mint(name="leaving")
    headers = {"Authorization": f"Bearer {minted.text}", "Accept": "text/event-stream"}
    address = f"{stack.url}/v1/sandboxes/{sandbox.id}/events"
    begun = Event()
    thread = revoke_when(begun, account, minted, [])
    with httpx.stream("GET", address, headers=headers, timeout=30) as answer:
        lines = []
        for line in answer.iter_lines():
            begun.set()
            lines.append(line)
    thread.join(30)
    assert any("token_revoked" in line for line in lines)
