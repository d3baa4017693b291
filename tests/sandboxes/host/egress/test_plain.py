"""Plain HTTP through the proxy, for registries without TLS."""

from __future__ import annotations

import asyncio
import socket

import pytest

from sandboxes.host.egress.policy import Policy, Rule

from .conftest import Proxies, Sandbox, drain
from .world import WAIT, World

ALLOWED = "mirror.example"
POLICY = Policy((Rule(ALLOWED, http_ports=(80, 8080)), Rule("tls.example")))


class Origin:
    """Answers by path with raw bytes, and keeps the heads of requests and its connections."""

    def __init__(self) -> None:
        self.heads: list[bytes] = []
        self.connections = 0
        self.answers: dict[str, bytes] = {}

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            self.heads.append(head)
            answer = self.answers[head.split(b" ")[1].decode()]
            writer.write(answer.removesuffix(b"<end>"))
            if answer.endswith(b"<end>"):
                break
        writer.close()


@pytest.fixture(scope="module")
def module_origin(world: World) -> Origin:
    origin = Origin()
    for port in (80, 8080):
        world.serve("203.0.113.10", port, origin)
    world.names |= {ALLOWED: ["203.0.113.10"], "tls.example": ["203.0.113.10"]}
    return origin


@pytest.fixture
def origin(module_origin: Origin) -> Origin:
    module_origin.heads.clear()
    module_origin.connections = 0
    return module_origin


def ok(body: bytes, *fields: bytes) -> bytes:
    return b"\r\n".join([b"HTTP/1.1 200 OK", b"Content-Length: %d" % len(body), *fields, b"", body])


def get(path: str, *fields: str, host: str = ALLOWED, method: str = "GET") -> bytes:
    lines = [f"{method} http://{host}{path} HTTP/1.1", f"Host: {host}", *fields, "", ""]
    return "\r\n".join(lines).encode()


def read_answer(sock: socket.socket, length: int) -> bytes:
    """Head and ``length`` bytes of body."""
    sock.settimeout(WAIT)
    data = b""
    while b"\r\n\r\n" not in data or len(data.partition(b"\r\n\r\n")[2]) < length:
        part = sock.recv(65536)
        assert part, data
        data += part
    return data


def sandbox_of(proxies: Proxies) -> Sandbox:
    return proxies.sandbox(policy=POLICY)


def test_it_passes_a_request_on_in_origin_form_without_the_fields_of_the_hop(
    proxies: Proxies, origin: Origin
) -> None:
    origin.answers["/a?b=c"] = ok(b"body", b"X-Own: kept", b"Connection: X-Gone", b"X-Gone: 1")
    sandbox = sandbox_of(proxies)
    answer = sandbox.ask(
        get(
            "/a?b=c",
            "Accept: */*",
            "Proxy-Authorization: Basic c2VjcmV0",
            "Connection: close, X-Secret",
            "X-Secret: 1",
            "Upgrade: h2c",
        )
    )
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"\r\n\r\nbody")
    assert b"x-own: kept" in answer
    assert b"x-gone" not in answer.lower()
    assert origin.heads == [
        b"GET /a?b=c HTTP/1.1\r\nHost: mirror.example\r\naccept: */*\r\nConnection: close\r\n\r\n"
    ]
    event = sandbox.allowed()
    assert (event.data["scheme"], event.data["port"]) == ("http", 80)
    assert event.data["bytes_up"] == len(origin.heads[0])


def test_every_request_on_a_kept_connection_is_judged(proxies: Proxies, origin: Origin) -> None:
    origin.answers["/one"] = ok(b"one")
    sandbox = sandbox_of(proxies)
    with sandbox.connect() as sock:
        sock.sendall(get("/one"))
        assert read_answer(sock, 3).endswith(b"one")
        sock.sendall(get("/two", host="other.example"))
        answer = drain(sock)
    assert answer.startswith(b"HTTP/1.1 403 ")
    assert b"allow the domain other.example" in answer
    assert len(origin.heads) == 1
    assert sandbox.denied("not_allowed").data["host"] == "other.example"


def test_pipelined_requests_share_a_connection_and_come_back_in_order(
    proxies: Proxies, origin: Origin
) -> None:
    origin.answers |= {"/one": ok(b"one"), "/two": ok(b"two"), "/last": ok(b"last")}
    sandbox = sandbox_of(proxies)
    answer = sandbox.ask(get("/one") + get("/two") + get("/last", "Connection: close"))
    assert [part.split(b"\r\n\r\n")[1] for part in answer.split(b"HTTP/1.1 200 OK")[1:]] == [
        b"one",
        b"two",
        b"last",
    ]
    assert origin.connections == 1
    assert sandbox.allowed().data["bytes_up"] == sum(map(len, origin.heads))
    assert len(sandbox.events()) == 1


def test_a_server_that_closed_a_kept_connection_is_asked_again(
    proxies: Proxies, origin: Origin
) -> None:
    origin.answers["/closes"] = ok(b"one") + b"<end>"
    sandbox = sandbox_of(proxies)
    with sandbox.connect() as sock:
        for _ in range(3):
            sock.sendall(get("/closes"))
            assert read_answer(sock, 3).endswith(b"one")
    assert origin.connections == 3


@pytest.mark.parametrize(
    ("sent", "body"),
    [
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", b"abc"),
        (
            b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
            b"3;ext=1\r\nabc\r\n0\r\nX-Trailer: 1\r\n\r\n",
            b"abc",
        ),
    ],
)
def test_chunks_are_passed_on_without_extensions_and_trailers(
    proxies: Proxies, origin: Origin, sent: bytes, body: bytes
) -> None:
    origin.answers["/chunked"] = sent
    answer = sandbox_of(proxies).ask(get("/chunked", "Connection: close"))
    assert answer.partition(b"\r\n\r\n")[2] == b"3\r\nabc\r\n0\r\n\r\n"


def test_a_body_that_ends_with_its_connection_arrives(proxies: Proxies, origin: Origin) -> None:
    origin.answers["/old"] = b"HTTP/1.0 200 OK\r\n\r\nto the end<end>"
    assert sandbox_of(proxies).ask(get("/old")).endswith(b"\r\n\r\nto the end")


def test_an_answer_to_head_has_no_body_and_the_connection_lives(
    proxies: Proxies, origin: Origin
) -> None:
    origin.answers["/head"] = b"HTTP/1.1 200 OK\r\nContent-Length: 400\r\n\r\n"
    origin.answers["/same"] = b"HTTP/1.1 304 Not Modified\r\n\r\n"
    answer = sandbox_of(proxies).ask(
        get("/head", method="HEAD") + get("/same", "Connection: close")
    )
    assert answer.count(b"HTTP/1.1") == 2
    assert origin.connections == 1


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\nabc",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        b"HTTP/1.1 200 OK\nContent-Length: 3\n\nabc",
        b"HTTP/1.1 200 OK\r\nX: one\r\n two\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
        b"HTTP/1.1 2000 Much\r\n\r\n",
        b"not http at all\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"a" * 20_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n<end>",
        b"<end>",
    ],
)
def test_an_answer_that_can_be_read_in_two_ways_is_refused(
    proxies: Proxies, origin: Origin, sent: bytes
) -> None:
    origin.answers["/bad"] = sent
    sandbox = sandbox_of(proxies)
    answer = sandbox.ask(get("/bad"))
    assert answer.startswith(b"HTTP/1.1 502 ")
    assert answer.count(b"HTTP/1.1") == 1
    assert sandbox.allowed("bad_response").data["host"] == ALLOWED


@pytest.mark.parametrize(
    "sent",
    [
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nabc<end>",
    ],
)
def test_a_body_that_breaks_off_breaks_off_for_the_client_too(
    proxies: Proxies, origin: Origin, sent: bytes
) -> None:
    origin.answers["/broken"] = sent
    sandbox = sandbox_of(proxies)
    answer = sandbox.ask(get("/broken"))
    assert not answer.endswith(b"0\r\n\r\n")
    assert sandbox.allowed().data["host"] == ALLOWED


def test_bytes_after_an_answer_are_not_taken_for_the_next(proxies: Proxies, origin: Origin) -> None:
    origin.answers["/poison"] = ok(b"one") + ok(b"poison")
    origin.answers["/next"] = ok(b"next")
    sandbox = sandbox_of(proxies)
    with sandbox.connect() as sock:
        sock.sendall(get("/poison"))
        assert read_answer(sock, 3).endswith(b"one")
        sock.sendall(get("/next", "Connection: close"))
        assert drain(sock).endswith(b"next")
    assert origin.connections == 2


def test_a_host_that_is_not_marked_for_plain_http_is_told_to_use_https(
    proxies: Proxies, origin: Origin
) -> None:
    sandbox = sandbox_of(proxies)
    assert b"Use https." in sandbox.ask(get("/", host="tls.example"))
    assert b"Use https." in sandbox.ask(get("/", host=f"{ALLOWED}:81"))
    assert sandbox.denied("plain_http").data["host"] == "tls.example"
    assert origin.connections == 0


def test_another_port_of_a_marked_host_is_another_connection(
    proxies: Proxies, origin: Origin
) -> None:
    origin.answers["/one"] = ok(b"one")
    sandbox = sandbox_of(proxies)
    answer = sandbox.ask(get("/one") + get("/one", "Connection: close", host=f"{ALLOWED}:8080"))
    assert answer.count(b"\r\n\r\none") == 2
    assert origin.connections == 2
    assert b"Host: mirror.example:8080" in origin.heads[1]
