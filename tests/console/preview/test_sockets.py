"""Websockets into sandboxes through the console's server."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
from orkestr import Sandbox
from orkestr._client import OrkestrClient
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect
from websockets.typing import Subprotocol

from tests.console.preview.conftest import PORT, Visitor, serve
from tests.stack import Stack
from tests.waiting import until
from timeline.events import Event
from timeline.selectors import events_after

WAIT = 15
PROTOCOLS = [Subprotocol("one"), Subprotocol("two")]


@contextmanager
def opened(stack: Stack, host: str, path: str = "/ws", **more: Any) -> Iterator[ClientConnection]:
    """The name leads to this machine, as in a browser."""
    with connect(
        f"ws://{host}{path}",
        address=("127.0.0.1", stack.options.port),
        open_timeout=WAIT,
        proxy=None,
        **more,
    ) as socket:
        yield socket


def test_messages_of_both_kinds_go_both_ways(stack: Stack, shown: Sandbox) -> None:
    host = serve(shown)
    with opened(stack, host, "/ws?a=%2F", subprotocols=PROTOCOLS) as socket:
        assert socket.subprotocol == "two"
        for message in ("text", b"\x00\xff", "x" * 300_000, b"y" * 70_000, "ünï"):
            socket.send(message)
            assert socket.recv(WAIT) == message
        socket.send("empty")
        assert socket.recv(WAIT) == ""
        socket.send("headers")
        seen = json.loads(socket.recv(WAIT))
        assert seen["target"] == "/ws?a=%2F"
        assert (seen["host"], seen["x-forwarded-for"]) == (host, "127.0.0.1")
        socket.send("close")
        with pytest.raises(ConnectionClosed) as closed:
            socket.recv(WAIT)
        assert closed.value.rcvd is not None
        assert closed.value.rcvd.code == 3456


def test_what_opens_no_websocket_is_refused(stack: Stack, shown: Sandbox) -> None:
    host = serve(shown)
    for name, path in ((host, "/page"), (shown.get_host(8123), "/ws"), (f"x.{host}", "/ws")):
        with pytest.raises(InvalidStatus) as refused, opened(stack, name, path):
            pass
        assert refused.value.response.status_code == 403
    with pytest.raises(InvalidStatus), opened(stack, host, "/ws/overview/"):
        pass


def test_a_locked_one_opens_by_token_and_by_cookie_from_its_own_pages(
    stack: Stack, sandbox_client: OrkestrClient, visitor: Visitor
) -> None:
    sandbox = Sandbox.create(template="python-3.12-bare", preview_auth=True)
    host, token = serve(sandbox), sandbox.preview_auth_token or ""
    answer = visitor.at(host, f"/?ork_preview_token={token}", headers={"accept": "text/html"})
    cookie = answer.headers["set-cookie"].partition(";")[0]
    visitor.cookies.clear()
    own, foreign = f"http://{host}", "http://evil.example"
    good: list[dict[str, str]] = [
        {"x-orkestr-preview-token": token, "origin": foreign},
        {"cookie": cookie, "origin": own},
        {"cookie": cookie},
    ]
    bad: list[dict[str, str]] = [{}, {"cookie": cookie, "origin": foreign}, {"cookie": "a=1"}]
    for headers in good:
        with opened(stack, host, additional_headers=headers) as socket:
            socket.send("headers")
            seen = json.loads(socket.recv(WAIT))
            assert "cookie" not in seen
            assert token not in json.dumps(seen)
    with opened(stack, host, f"/ws?ork_preview_token={token}") as socket:
        socket.send("headers")
        assert json.loads(socket.recv(WAIT))["target"] == "/ws"
    for headers in bad:
        with pytest.raises(InvalidStatus), opened(stack, host, additional_headers=headers):
            pass


def test_both_directions_are_held_back_not_kept_in_memory(stack: Stack, shown: Sandbox) -> None:
    host = serve(shown)
    before = stack.memory("asgi")
    with opened(stack, host, max_queue=1) as slow:
        slow.send("flood800")  # 50 MB that nobody reads yet
        assert len(slow.recv(WAIT)) == 65536
        assert peak(stack, seconds=1) - before < 24 * 1024 * 1024
        for _ in range(799):
            assert len(slow.recv(WAIT)) == 65536
    with opened(stack, host) as fast:
        fast.send("stall")
        pushed = 0
        deadline = time.monotonic() + 3
        fast.socket.settimeout(0.5)
        try:
            while time.monotonic() < deadline and pushed < 256:
                fast.send(b"x" * 512 * 1024)
                pushed += 1
        except ConnectionClosed:  # its send timed out, as the server is not reading
            pass
        assert stack.memory("asgi") - before < 32 * 1024 * 1024
        fast.socket.close()


def peak(stack: Stack, *, seconds: float) -> int:
    deadline, most = time.monotonic() + seconds, 0
    while time.monotonic() < deadline:
        most = max(most, stack.memory("asgi"))
        time.sleep(0.1)  # how often is looked, not for what is waited
    return most


def test_it_ends_with_its_sandbox_and_is_told(stack: Stack, shown: Sandbox) -> None:
    host = serve(shown)
    with opened(stack, host) as socket:
        socket.send("here")
        assert socket.recv(WAIT) == "here"

        def told() -> list[Event]:
            return events_after(sandbox_id=shown.id, kinds=["network.preview"])

        until(lambda: bool(told()), what="it is on the timeline")
        assert told()[0].data["port"] == PORT
        shown.terminate()
        with pytest.raises(ConnectionClosed):
            socket.recv(WAIT)
