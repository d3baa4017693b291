"""Ports of sandboxes through the console's server, over HTTP."""

from __future__ import annotations

import hashlib
import json
import re
import socket
import time
from collections.abc import Iterator

import httpx
import pytest
from orkestr import PlanLimitError, Sandbox
from orkestr._client import OrkestrClient

from accounts.models import Plan
from tests.cast import Cast
from tests.console.preview.conftest import PORT, Visitor, serve
from tests.stack import Stack
from tests.waiting import until
from timeline.selectors import events_after

MIB = 1024 * 1024
HTML = {"accept": "text/html,*/*"}


def test_a_request_reaches_what_listens_and_its_answer_comes_back(
    shown: Sandbox, visitor: Visitor, token: str
) -> None:
    host = serve(shown)
    ulid = shown.id[4:].lower()
    assert host == f"{PORT}-{ulid}.localhost:{visitor.port}"
    sent = {
        "x-mine": "1",
        "x-forwarded-for": "6.6.6.6",
        "x-forwarded-host": "evil.example",
        "forwarded": "for=6.6.6.6",
        "connection": "x-hop, close",
        "x-hop": "1",
        "te": "trailers",
        "upgrade-insecure-requests": "1",
        "authorization": f"Bearer {token}",
        "x-orkestr-preview-token": "guess",
        "cookie": "orkestr_session=secret; app=1; orkestr_csrf=x; ork_preview=y; b=2",
    }
    answer = visitor.at(host, "/a%20b/%2e%2e//c?x=1&y=%2F&ork_preview_token=z", headers=sent)
    assert answer.status_code == 200
    seen = answer.json()
    assert (seen["method"], seen["target"]) == ("GET", "/a%20b/%2e%2e//c?x=1&y=%2F")
    assert seen["headers"] == {
        "host": host,
        "accept": "*/*",
        "accept-encoding": answer.request.headers["accept-encoding"],
        "user-agent": answer.request.headers["user-agent"],
        "x-mine": "1",
        "upgrade-insecure-requests": "1",
        "cookie": "app=1; b=2",
        "x-forwarded-for": "127.0.0.1",
        "x-forwarded-host": host,
        "x-forwarded-port": str(visitor.port),
        "x-forwarded-proto": "http",
        "connection": "close",
    }
    own = visitor.at(host, headers={"authorization": "Basic YTpi"}).json()
    assert own["headers"]["authorization"] == "Basic YTpi", "an app's own sign-in passes"


def test_a_sandbox_sets_cookies_for_its_own_host_only(shown: Sandbox, visitor: Visitor) -> None:
    answer = visitor.at(serve(shown), "/cookies")
    assert answer.headers.get_list("set-cookie") == [
        "app=1; Path=/",
        "other=2; HttpOnly; Max-Age=5",
    ]
    assert "alt-svc" not in answer.headers
    assert "keep-alive" not in answer.headers
    assert answer.headers["x-kept"] == "yes"


@pytest.mark.parametrize("chunked", [False, True])
def test_a_large_body_goes_in_through_little_memory(
    stack: Stack, shown: Sandbox, visitor: Visitor, chunked: bool
) -> None:
    """Well over what the console's own routes take."""
    host, size, most = serve(shown), 64, [0]
    before = stack.memory("asgi")

    def pieces() -> Iterator[bytes]:
        for number in range(size):
            if number % 8 == 0:
                most[0] = max(most[0], stack.memory("asgi"))
            yield b"x" * MIB

    headers = {} if chunked else {"content-length": str(size * MIB)}
    answer = visitor.at(host, method="POST", headers=headers, content=pieces()).json()
    assert answer["size"] == size * MIB
    assert answer["sum"] == hashlib.sha256(b"x" * size * MIB).hexdigest()
    assert ("content-length" in answer["headers"]) is not chunked
    assert most[0] - before < 16 * MIB


def test_a_slow_reader_holds_the_server_back_not_the_memory(
    stack: Stack, shown: Sandbox, visitor: Visitor
) -> None:
    host = serve(shown)
    before = stack.memory("asgi")
    with visitor.stream("GET", "/flood?mb=256", headers={"host": host}) as answer:
        parts = answer.iter_raw(65536)
        next(parts)
        most = before
        for _ in range(20):
            time.sleep(0.02)  # a reader that is slow on purpose
            most = max(most, stack.memory("asgi"))
        assert most - before < 16 * MIB
        assert sum(map(len, parts)) + 65536 == 256 * MIB


def test_events_come_as_they_are_sent_and_leaving_ends_them(
    shown: Sandbox, visitor: Visitor
) -> None:
    host = serve(shown)
    with visitor.stream("GET", "/sse", headers={"host": host}) as answer:
        assert next(answer.iter_raw()) == b"data: 0\n\n", "the next one comes half a second later"
        assert answer.headers["content-type"] == "text/event-stream"
    with visitor.stream("GET", "/wait?me", headers={"host": host}) as answer:
        assert next(answer.iter_raw()) == b"begun"
    until(lambda: visitor.at(host, "/left").json() == ["/wait?me"], what="the server is told")


def test_nothing_listening_is_told_with_what_to_do(shown: Sandbox, visitor: Visitor) -> None:
    host = shown.get_host(8123)
    answer = visitor.at(host)
    assert (answer.status_code, answer.json()["code"]) == (502, "not_listening")
    assert answer.headers["x-orkestr-preview"] == "not_listening"
    page = visitor.at(host, headers=HTML)
    assert page.status_code == 502
    assert "Nothing listens on port 8123" in page.text
    assert "python3 -m http.server 8123" in page.text
    assert page.headers["cache-control"] == "no-store"
    assert visitor.at(host, method="HEAD", headers=HTML).content == b""


def test_a_paused_one_says_so_and_one_that_may_wakes(
    sandbox_client: OrkestrClient, visitor: Visitor
) -> None:
    for may_wake in (False, True):
        sandbox = Sandbox.create(template="python-3.12-bare", auto_resume=may_wake)
        host = serve(sandbox)
        sandbox.pause()
        answer = visitor.at(host)
        assert answer.status_code == (200 if may_wake else 409)
        assert sandbox.refresh().status == ("running" if may_wake else "paused")
        if not may_wake:
            assert "resume it first" in visitor.at(host, headers=HTML).text


def base_of(http: httpx.Client, sandbox: Sandbox) -> str | None:
    base: str | None = http.get(f"/v1/sandboxes/{sandbox.id}").json()["preview_host_base"]
    return base


def test_an_ended_one_is_gone_and_others_were_never_there(
    http: httpx.Client, shown: Sandbox, visitor: Visitor
) -> None:
    host = shown.get_host(PORT)
    ulid = shown.id[4:].lower()
    assert base_of(http, shown) == host.removeprefix(f"{PORT}-")
    shown.terminate()
    assert visitor.at(host).status_code == 410
    assert base_of(http, shown) is None
    base = f"localhost:{visitor.port}"
    for name in (
        f"{PORT}-{'0' * 26}",
        ulid,
        f"0-{ulid}",
        f"65536-{ulid}",
        f"3128-{ulid}",
        f"03000-{ulid}",
        f"{PORT}-{ulid}x",
        f"{PORT}-{ulid}.sub",
        "console",
        "x" * 300,
    ):
        for path in ("/", "/login/", "/healthz", "/v1/sandboxes", "/static/console/app.js"):
            answer = visitor.at(f"{name}.{base}", path)
            assert answer.status_code == 404, (name, path)
            assert answer.headers["x-orkestr-preview"]
    assert visitor.get("/healthz").status_code == 200


def test_two_hosts_in_one_request_lead_nowhere(stack: Stack, shown: Sandbox) -> None:
    host = serve(shown)
    for others in (b"127.0.0.1", host.encode()):
        with socket.create_connection(("127.0.0.1", stack.options.port), 10) as sock:
            text = b"GET / HTTP/1.1\r\nHost: %b\r\nHost: %b\r\nConnection: close\r\n\r\n"
            sock.sendall(text % (host.encode(), others))
            assert sock.recv(65536).split(b" ")[1] in {b"400", b"404"}


def test_the_answer_of_the_wire(http: httpx.Client, shown: Sandbox) -> None:
    body = http.get(f"/v1/sandboxes/{shown.id}/host?port=3000").json()
    host = shown.get_host(3000)
    assert body == {"port": 3000, "host": host, "url": f"http://{host}"}
    for port in ("0", "65536", "-1", "3128", "x", ""):
        answer = http.get(f"/v1/sandboxes/{shown.id}/host?port={port}")
        assert answer.status_code == 422
    assert shown.preview_auth is False
    assert shown.preview_auth_token is None
    shown.terminate()
    assert http.get(f"/v1/sandboxes/{shown.id}/host?port=3000").status_code == 409


def test_a_plan_may_not_cover_previews(
    sandbox_client: OrkestrClient, account: Cast, shown: Sandbox, visitor: Visitor
) -> None:
    host = serve(shown)
    account.account.plan = Plan.objects.get(name="free")
    account.account.save()
    with pytest.raises(PlanLimitError, match="does not cover previews"):
        shown.get_host(PORT)
    answer = visitor.at(host)
    assert (answer.status_code, answer.json()["reason"]) == (403, "preview")


def test_the_timeline_says_which_port_was_looked_at_and_from_where(
    shown: Sandbox, visitor: Visitor
) -> None:
    host = serve(shown)
    for _ in range(3):
        visitor.at(host)

    def told() -> list[dict[str, object]]:
        found = events_after(sandbox_id=shown.id, kinds=["network.preview"])
        return [event.data for event in found]

    until(lambda: bool(told()), what="it is stored")
    assert told() == [{"port": PORT, "address": "127.0.0.1"}]


def test_one_sandbox_may_not_take_every_connection(
    shown: Sandbox, visitor: Visitor, sandbox_client: OrkestrClient
) -> None:
    host, neighbour = serve(shown), Sandbox.create(template="python-3.12-bare")
    other = serve(neighbour)
    held: list[socket.socket] = []
    try:
        for _ in range(160):
            sock = socket.create_connection(("127.0.0.1", visitor.port), 10)
            held.append(sock)
            sock.sendall(f"GET /wait HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        first = [sock.recv(65536)[:12] for sock in held]
        assert first.count(b"HTTP/1.1 200") == 128
        assert first.count(b"HTTP/1.1 429") == 32
        assert visitor.at(other).status_code == 200
        assert visitor.get("/healthz").status_code == 200
    finally:
        for sock in held:
            sock.close()
    until(lambda: visitor.at(host).status_code == 200, what="places are free again")


def test_pages_of_refusals_say_no_more_than_they_must(shown: Sandbox, visitor: Visitor) -> None:
    page = visitor.at(shown.get_host(8123), headers=HTML)
    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert not re.search(r"<script|onclick|https?://", page.text)
    assert json.dumps(dict(page.headers)).count("orkestr_session") == 0
