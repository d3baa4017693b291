"""What a hostile sandbox, or a hostile server, may try on the proxy."""

from __future__ import annotations

import asyncio
import resource
import select
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest

from sandboxes.host.egress.limits import Limits
from sandboxes.host.egress.policy import Policy, Rule

from .conftest import Proxies, Sandbox, drain
from .world import WAIT, World, read_all

ALLOWED = "allowed.example"
CONNECT = f"CONNECT {ALLOWED}:443 HTTP/1.1\r\n"
GET = f"GET http://{ALLOWED}/ HTTP/1.1\r\n"
PLAIN = Policy((Rule(ALLOWED, http_ports=(80,)),))


class Recorder:
    """A server that keeps what reached it."""

    def __init__(self) -> None:
        self.seen = bytearray()
        self.connections = 0

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while part := await reader.read(65536):
            self.seen += part
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")


@pytest.fixture(scope="module")
def recorder(world: World) -> Recorder:
    recorder = Recorder()
    for port in (80, 443):
        world.serve("203.0.113.10", port, recorder)
    world.names[ALLOWED] = ["203.0.113.10"]
    return recorder


@pytest.mark.parametrize(
    "request_text",
    [
        CONNECT + "Content-Length: 5\r\n\r\nhello",
        CONNECT + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        CONNECT + "Content-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n",
        CONNECT + f"Host: {ALLOWED}\r\nHost: other.example\r\n\r\n",
        CONNECT + "Host: other.example\r\n\r\n",
        CONNECT + f"Host: {ALLOWED}:22\r\n\r\n",
        CONNECT + "X-Folded: one\r\n two\r\n\r\n",
        CONNECT + "X-Space : one\r\n\r\n",
        CONNECT + "Host\r\n\r\n",
        CONNECT + ": empty\r\n\r\n",
        CONNECT + "X-Bare: one\nX-Feed: two\r\n\r\n",
        CONNECT + "X-Bare: one\rX-Return: two\r\n\r\n",
        CONNECT + "X-Null: \0\r\n\r\n",
        f"CONNECT {ALLOWED}:443 HTTP/1.1\n\n",
        f"CONNECT {ALLOWED}:443  HTTP/1.1\r\n\r\n",
        f"CONNECT  {ALLOWED}:443 HTTP/1.1\r\n\r\n",
        f"CONNECT {ALLOWED}:443 HTTP/2.0\r\n\r\n",
        f"CONNECT {ALLOWED}:443\r\n\r\n",
        f"CONNECT {ALLOWED} HTTP/1.1\r\n\r\n",
        f"CONNECT {ALLOWED}:443@other.example:443 HTTP/1.1\r\n\r\n",
        f"CONNECT user@{ALLOWED}:443 HTTP/1.1\r\n\r\n",
        f"CONNECT {ALLOWED}:70000 HTTP/1.1\r\n\r\n",
        f"CONNECT {ALLOWED}:0443x HTTP/1.1\r\n\r\n",
        f"CONNECT http://{ALLOWED}:443/ HTTP/1.1\r\n\r\n",
        "CONNECT :443 HTTP/1.1\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        "GET / HTTP/1.1\r\nHost: allowed.example\r\n\r\n",
        f"GET https://{ALLOWED}/ HTTP/1.1\r\n\r\n",
        f"GET ftp://{ALLOWED}/ HTTP/1.1\r\n\r\n",
        f"GET http://{ALLOWED}@other.example/ HTTP/1.1\r\n\r\n",
        f"GET http://{ALLOWED}\\@other.example/ HTTP/1.1\r\n\r\n",
        GET + "Host: other.example\r\n\r\n",
        GET + f"Host: {ALLOWED}\r\nHost: {ALLOWED}\r\n\r\n",
        GET + "Content-Length: 5\r\n\r\nhello",
        GET + "Content-Length: 0\r\nContent-Length: 5\r\n\r\nhello",
        GET + "Content-Length: +5\r\n\r\nhello",
        GET + "Content-Length: 5, 5\r\n\r\nhello",
        GET + "Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
        GET + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        GET + "Transfer-Encoding: xchunked\r\n\r\n",
        f"POST http://{ALLOWED}/ HTTP/1.1\r\n\r\n",
        f"DELETE http://{ALLOWED}/ HTTP/1.1\r\n\r\n",
        "A" * 20_000,
        CONNECT + "X: " + "a" * 20_000 + "\r\n\r\n",
        CONNECT + "X: a\r\n" * 200 + "\r\n",
    ],
)
def test_a_request_that_can_be_read_in_two_ways_is_refused(
    proxies: Proxies, recorder: Recorder, request_text: str
) -> None:
    sandbox = proxies.sandbox(policy=PLAIN)
    seen, connections = len(recorder.seen), recorder.connections
    answer = sandbox.ask(request_text.encode("latin-1"))
    assert answer.split(b" ")[1] in {b"400", b"403", b"405", b"431"}
    assert answer.count(b"HTTP/1.1") == 1
    assert b"Connection: close" in answer
    event = sandbox.wait(lambda e: e.kind == "network.denied")
    assert event.data["detail"]
    assert (len(recorder.seen), recorder.connections) == (seen, connections)


def test_a_request_behind_a_refused_one_is_never_read(proxies: Proxies, recorder: Recorder) -> None:
    sandbox = proxies.sandbox(policy=PLAIN)
    seen = len(recorder.seen)
    second = (GET + "\r\n").encode()
    assert sandbox.ask(b"GET http://other.example/ HTTP/1.1\r\n\r\n" + second).startswith(
        b"HTTP/1.1 403 "
    )
    assert sandbox.denied("not_allowed").data["host"] == "other.example"
    assert len(recorder.seen) == seen
    assert [e.kind for e in sandbox.events()] == ["network.denied"]


@pytest.mark.parametrize(
    "said",
    [b"CONNECT allowed.example:443 HT", b"C", CONNECT.encode() + b"X-Slow: a"],
)
def test_a_header_that_does_not_arrive_is_not_waited_for(
    proxies_with: Callable[[Limits], Proxies], said: bytes
) -> None:
    sandbox = proxies_with(Limits(head_seconds=0.5)).sandbox(ALLOWED)
    assert sandbox.ask(said).startswith(b"HTTP/1.1 408 ")
    assert sandbox.denied("slow_head").data["detail"]


def test_a_byte_now_and_then_does_not_stretch_the_time_for_a_header(
    proxies_with: Callable[[Limits], Proxies],
) -> None:
    sandbox = proxies_with(Limits(head_seconds=0.5)).sandbox(ALLOWED)
    with sandbox.connect() as sock:
        deadline = time.monotonic() + WAIT
        sock.sendall(CONNECT.encode() + b"X: ")
        while not select.select([sock], [], [], 0.05)[0]:
            assert time.monotonic() < deadline
            sock.sendall(b"a")
        assert sock.recv(64).startswith(b"HTTP/1.1 408 ")


def test_a_silent_connection_is_closed_without_a_word(
    proxies_with: Callable[[Limits], Proxies],
) -> None:
    sandbox = proxies_with(Limits(head_seconds=0.5)).sandbox(ALLOWED)
    assert sandbox.ask(b"") == b""
    assert sandbox.events() == []


def test_an_idle_tunnel_is_ended_and_told(
    proxies_with: Callable[[Limits], Proxies], recorder: Recorder
) -> None:
    sandbox = proxies_with(Limits(idle_seconds=0.5)).sandbox(ALLOWED)
    assert sandbox.ask((CONNECT + "\r\n").encode()).startswith(b"HTTP/1.1 200 ")
    assert sandbox.allowed("idle_timeout").data["host"] == ALLOWED


def test_ten_thousand_idle_connections_do_not_hurt_another_sandbox(
    proxies: Proxies, recorder: Recorder
) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    crowd, other = proxies.sandbox(ALLOWED), proxies.sandbox(ALLOWED)
    with ExitStack() as stack:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        stack.callback(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))

        def flood() -> list[socket.socket]:
            address = ("127.0.0.1", 3128)
            return [
                stack.enter_context(socket.create_connection(address, WAIT)) for _ in range(10_000)
            ]

        sockets = crowd.space.inside(flood)
        assert tunnels(other)
        assert sockets[-1].recv(64).startswith(b"HTTP/1.1 503 ")
        assert not tunnels(crowd)
    assert crowd.denied("too_many_connections").data["detail"]


def test_names_that_are_never_answered_do_not_hold_up_another_sandbox(
    proxies: Proxies, recorder: Recorder, world: World
) -> None:
    names = [f"n{number}.silent.example" for number in range(200)]
    world.names |= dict.fromkeys(names)
    crowd, other = proxies.sandbox("silent.example"), proxies.sandbox(ALLOWED)
    with ExitStack() as stack:
        for name in names:
            sock = stack.enter_context(crowd.connect())
            sock.sendall(f"CONNECT {name}:443 HTTP/1.1\r\n\r\n".encode())
        assert tunnels(other)
        assert 0 < len(set(world.asked) & set(names)) < 100


def test_many_sandboxes_together_leave_room_for_one_more(
    proxies_with: Callable[[Limits], Proxies], recorder: Recorder
) -> None:
    proxies = proxies_with(Limits(per_sandbox=60, crowded_share=5, total=100))
    with ExitStack() as stack:
        for crowd in (proxies.sandbox(ALLOWED), proxies.sandbox(ALLOWED)):
            for _ in range(60):
                stack.enter_context(crowd.connect())
        assert tunnels(proxies.sandbox(ALLOWED))


def test_places_are_free_again_when_connections_end(
    proxies_with: Callable[[Limits], Proxies], recorder: Recorder
) -> None:
    sandbox = proxies_with(Limits(per_sandbox=2)).sandbox(ALLOWED)
    with sandbox.connect() as one, sandbox.connect() as two:
        assert sandbox.ask(b"").startswith(b"HTTP/1.1 503 ")
        for sock in (one, two):
            sock.shutdown(socket.SHUT_WR)
            assert drain(sock) == b""
    deadline = time.monotonic() + WAIT
    while not tunnels(sandbox):
        assert time.monotonic() < deadline


def test_knocking_in_a_loop_does_not_fill_the_timeline(
    proxies_with: Callable[[Limits], Proxies],
) -> None:
    proxies = proxies_with(Limits(events_per_second=0.01, events_burst=5))
    sandbox = proxies.sandbox(ALLOWED)
    for _ in range(40):
        assert sandbox.ask(b"CONNECT other.example:443 HTTP/1.1\r\n\r\n")
    sandbox.denied("repeated")
    denials = [e for e in sandbox.events() if e.kind == "network.denied"]
    assert len(denials) < 20
    told = sum(e.data.get("left_out", 0) + (e.data["reason"] == "not_allowed") for e in denials)
    assert told <= 40


def test_what_a_client_does_not_read_stays_with_the_server(proxies: Proxies, world: World) -> None:
    sent = 0

    async def firehose(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        try:
            while True:
                writer.write(b"x" * 65536)
                await writer.drain()
                sent += 65536
        except ConnectionError:
            writer.close()

    world.serve("203.0.113.11", 443, firehose)
    world.names["firehose.example"] = ["203.0.113.11"]
    sandbox = proxies.sandbox("firehose.example")
    pid = proxies.client.pid
    assert pid is not None
    before = resident(pid)
    with ExitStack() as stack:
        for _ in range(20):
            sock = stack.enter_context(sandbox.connect())
            sock.sendall(b"CONNECT firehose.example:443 HTTP/1.1\r\n\r\n")
            assert sock.recv(12) == b"HTTP/1.1 200"
        settled = -1
        while settled != sent:  # until the server is held back
            settled = sent
            world.run(asyncio.sleep(0.3))
        assert resident(pid) - before < 16 * 1024 * 1024


def test_a_large_transfer_arrives_whole(proxies: Proxies, world: World) -> None:
    block = bytes(range(256)) * 4096

    async def send(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = await read_all(reader)
        for _ in range(16):
            writer.write(block)
            await writer.drain()
        writer.write(asked)
        writer.close()

    world.serve("203.0.113.12", 443, send)
    world.names["large.example"] = ["203.0.113.12"]
    sandbox = proxies.sandbox("large.example")
    with sandbox.connect() as sock:
        sock.sendall(b"CONNECT large.example:443 HTTP/1.1\r\n\r\n")
        sock.sendall(b"z" * 1_000_000)
        sock.shutdown(socket.SHUT_WR)
        answer = drain(sock)
    assert answer.partition(b"\r\n\r\n")[2] == block * 16 + b"z" * 1_000_000
    data = sandbox.allowed().data
    assert (data["bytes_up"], data["bytes_down"]) == (1_000_000, 16 * len(block) + 1_000_000)


def tunnels(sandbox: Sandbox) -> bool:
    with sandbox.connect() as sock:
        sock.settimeout(WAIT)
        try:
            sock.sendall((CONNECT + "\r\n").encode())
            return sock.recv(12) == b"HTTP/1.1 200"
        except ConnectionError:
            return False


def resident(pid: int) -> int:
    """Bytes of memory of a process."""
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * resource.getpagesize()
