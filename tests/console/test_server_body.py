"""Bodies that console/server.py passes on as they arrive."""

from __future__ import annotations

import socket
from collections.abc import Iterator

import httpx
import pytest

from tests.console.server_app import BODY_LIMIT, MIB
from tests.console.test_server import Served, _settled
from tests.console.test_server import served as served  # noqa: PLC0414 - a fixture
from tests.waiting import until


def noted(served: Served, name: str) -> int:
    return int(httpx.get(f"{served.url}/counts").json()[name])


def head(method: str, path: str, length: int) -> bytes:
    return f"{method} {path} HTTP/1.1\r\nhost: x\r\ncontent-length: {length}\r\n\r\n".encode()


def test_the_application_has_the_beginning_before_the_end_is_sent(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as peer:
        peer.sendall(head("PUT", "/sip", 10) + b"12345")
        until(lambda: noted(served, "sipped") == 1, what="it has begun")
        peer.sendall(b"67890")
        answer = peer.recv(65536)
        assert b"HTTP/1.1 200" in answer
        assert answer.endswith(b'{"size": 10}')
        peer.sendall(head("PUT", "/sip", 3) + b"abc")
        assert peer.recv(65536).endswith(b'{"size": 3}'), "the connection can be used again"


def test_no_limit_and_no_memory_for_what_is_streamed(served: Served) -> None:
    size = 100 * BODY_LIMIT
    before, most = _settled(served), [0]

    def pieces() -> Iterator[bytes]:
        for number in range(size // MIB):
            if number % 10 == 0:
                most[0] = max(most[0], served.resident())
            yield b"x" * MIB

    headers = {"content-length": str(size)}
    answer = httpx.put(f"{served.url}/sip/10", content=pieces(), headers=headers, timeout=60)
    assert answer.json() == {"size": size}
    assert most[0] - before < 16 * MIB


def test_a_sender_waits_for_a_slow_application(served: Served) -> None:
    size = 200 * MIB
    with socket.create_connection(("127.0.0.1", served.port), timeout=2) as peer:
        peer.sendall(head("PUT", "/sip/300", size))
        sent = 0
        with pytest.raises(TimeoutError):
            while sent < size:
                sent += peer.send(b"x" * MIB)
    assert sent < 64 * MIB, "what the kernel holds on both sides, and hardly more"


def test_chunks_are_passed_on_too(served: Served) -> None:
    parts = (b"x" * 1000 for _ in range(7))
    assert httpx.put(f"{served.url}/sip", content=parts).json() == {"size": 7000}


def test_an_empty_body_is_one_too(served: Served) -> None:
    assert httpx.put(f"{served.url}/sip", content=b"").json() == {"size": 0}


def test_the_application_is_told_when_its_sender_leaves(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as peer:
        peer.sendall(head("PUT", "/sip", 10) + b"12345")
        until(lambda: noted(served, "sipped") == 1, what="it has begun")
    until(lambda: noted(served, "left") == 1, what="it is told")


def test_an_answer_before_the_body_is_seen_and_the_body_is_no_request(served: Served) -> None:
    hidden = head("GET", "/slow/1", 0)
    size = 20 * MIB
    with socket.create_connection(("127.0.0.1", served.port), timeout=20) as peer:
        peer.sendall(head("PUT", "/deny", size))
        answer = peer.recv(65536)
        assert b'{"denied": true}' in answer
        assert b"connection: close" in answer.lower()
        peer.sendall((hidden * (size // len(hidden) + 1))[:size])
        assert peer.recv(65536) == b""
    assert noted(served, "slow") == 0
    body = b"x" * size
    assert httpx.put(f"{served.url}/deny", content=body, timeout=20).json() == {"denied": True}


def test_a_body_that_is_promised_to_the_clients_that_ask_first(served: Served) -> None:
    asking = head("PUT", "/sip", 5).replace(b"\r\n\r\n", b"\r\nexpect: 100-continue\r\n\r\n")
    with socket.create_connection(("127.0.0.1", served.port), timeout=10) as peer:
        peer.sendall(asking)
        assert peer.recv(65536) == b"HTTP/1.1 100 Continue\r\n\r\n"
        peer.sendall(b"12345")
        assert peer.recv(65536).endswith(b'{"size": 5}')


def test_an_answer_that_cannot_be_finished_ends_its_connection(served: Served) -> None:
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{served.url}/abort")
    assert httpx.get(f"{served.url}/counts").is_success
