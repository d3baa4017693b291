"""CONNECT through the proxy: who is let through, who is not, and what is told of it."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable

import pytest

from sandboxes.host.egress.limits import Limits
from sandboxes.host.egress.policy import Policy, Rule

from .conftest import Proxies, Sandbox, drain
from .world import WAIT, World, read_all

ALLOWED = "allowed.example"
#: What a client gets when it is let through.
OPEN = b"HTTP/1.1 200 Connection Established\r\n\r\n"


async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Answers with what it was sent, once the client has ended."""
    data = await read_all(reader)
    writer.write(b"echo:" + data)
    writer.close()


@pytest.fixture(scope="module", autouse=True)
def far_servers(world: World) -> None:
    for address in ("203.0.113.10", "203.0.113.11", "10.99.0.1", "169.254.169.254"):
        world.serve(address, 443, echo)
    world.serve("203.0.113.10", 8443, echo)
    world.serve("203.0.113.10", 22, echo)
    world.serve("2600:2::1", 443, echo)
    world.names |= {
        ALLOWED: ["203.0.113.10"],
        "deep.down.allowed.example": ["203.0.113.11"],
        "six.example": ["2600:2::1"],
        "private.example": ["10.99.0.1"],
        "metadata.example": ["169.254.169.254"],
        "loopback.example": ["127.0.0.1"],
        "mapped.example": ["::ffff:203.0.113.10"],
        "translated.example": ["64:ff9b::cb00:710a"],
        "sixtofour.example": ["2002:cb00:710a::1"],
        "self.example": ["198.51.100.2"],
        "mixed.example": ["10.99.0.1", "203.0.113.10"],
        "dead.example": ["203.0.113.12"],
        "half.example": ["203.0.113.12", "203.0.113.10"],
        "xn--bcher-kva.example": ["203.0.113.10"],
    }


def connect(sandbox: Sandbox, authority: str, payload: bytes = b"hello") -> bytes:
    with sandbox.connect() as sock:
        sock.sendall(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
        sock.sendall(payload)
        sock.shutdown(socket.SHUT_WR)
        return drain(sock)


def test_it_tunnels_to_an_allowed_name_and_tells_what_went_through(proxies: Proxies) -> None:
    sandbox = proxies.sandbox(ALLOWED)
    assert connect(sandbox, f"{ALLOWED}:443") == OPEN + b"echo:hello"
    event = sandbox.allowed()
    assert event.data | {"duration_ms": 0} == {
        "record": event.data["record"],
        "scheme": "connect",
        "host": ALLOWED,
        "port": 443,
        "address": "203.0.113.10",
        "verdict": "allowed",
        "reason": "ended",
        "bytes_up": 5,
        "bytes_down": 10,
        "duration_ms": 0,
    }


@pytest.mark.parametrize(
    "authority",
    ["deep.down.allowed.example:443", "ALLOWED.Example:443", "allowed.example.:443"],
)
def test_it_takes_subdomains_any_case_and_a_trailing_dot(proxies: Proxies, authority: str) -> None:
    assert connect(proxies.sandbox(ALLOWED), authority).startswith(OPEN)


def test_it_reads_an_international_name_and_its_ascii_form_as_one(proxies: Proxies) -> None:
    sandbox = proxies.sandbox("Bücher.example")
    assert connect(sandbox, "xn--bcher-kva.example:443").startswith(OPEN)
    assert connect(sandbox, "bücher.example:443").startswith(OPEN)


def test_it_reaches_ipv6_servers(proxies: Proxies) -> None:
    sandbox = proxies.sandbox("six.example")
    assert connect(sandbox, "six.example:443").startswith(OPEN)
    assert sandbox.allowed().data["address"] == "2600:2::1"


@pytest.mark.parametrize("name", ["other.example", "notallowed.example", "example", "localhost"])
def test_a_name_not_on_the_list_is_refused_and_the_domain_to_allow_is_told(
    proxies: Proxies, world: World, name: str
) -> None:
    sandbox = proxies.sandbox(ALLOWED)
    answer = connect(sandbox, f"{name}:443").decode()
    assert answer.startswith("HTTP/1.1 403 Forbidden\r\n")
    said = json.loads(answer.partition("\r\n\r\n")[2])
    assert said["code"] == "network_policy_blocked"
    assert f"allow the domain {name}." in said["detail"]
    event = sandbox.denied("not_allowed")
    assert (event.data["host"], event.data["allow"], event.actor.type) == (name, name, "policy")
    assert name not in world.asked


@pytest.mark.parametrize(
    "host",
    [
        "203.0.113.10",
        "127.0.0.1",
        "169.254.169.254",
        "[::1]",
        "[::ffff:203.0.113.10]",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "127.1",
        "0177.0.0.1",
        "203.0.113.10.",
        "\uff11\uff12\uff17.0.0.1",
    ],
)
def test_ip_literals_are_refused_in_every_spelling(proxies: Proxies, host: str) -> None:
    sandbox = proxies.sandbox(ALLOWED)
    assert not connect(sandbox, f"{host}:443").startswith(b"HTTP/1.1 200")
    event = sandbox.wait(lambda e: e.kind == "network.denied")
    assert event.data["reason"] in {"ip_literal", "bad_name"}


def test_an_ip_literal_that_an_operator_lists_is_let_through(proxies: Proxies) -> None:
    sandbox = proxies.sandbox(policy=Policy((Rule("203.0.113.10"),)))
    assert connect(sandbox, "203.0.113.10:443").startswith(OPEN)
    assert b" 403 " in connect(sandbox, "203.0.113.11:443")


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("loopback.example", "loopback_address"),
        ("metadata.example", "metadata_address"),
        ("private.example", "private_address"),
        ("mapped.example", "embedded_address"),
        ("translated.example", "embedded_address"),
        ("sixtofour.example", "embedded_address"),
        ("self.example", "own_address"),
    ],
)
def test_an_allowed_name_that_resolves_inwards_is_refused(
    proxies: Proxies, name: str, reason: str
) -> None:
    sandbox = proxies.sandbox(name)
    assert connect(sandbox, f"{name}:443").startswith(b"HTTP/1.1 403 ")
    event = sandbox.denied(reason)
    assert (event.data["host"], "allow" in event.data) == (name, False)
    assert event.data["address"]


def test_of_several_addresses_only_the_good_ones_are_tried(proxies: Proxies) -> None:
    sandbox = proxies.sandbox("mixed.example")
    assert connect(sandbox, "mixed.example:443").startswith(OPEN)
    assert sandbox.allowed().data["address"] == "203.0.113.10"


def test_the_address_that_was_checked_is_the_one_connected_to(
    proxies: Proxies, world: World
) -> None:
    answers = iter([["203.0.113.10"], ["10.99.0.1"], ["127.0.0.1"]])
    world.names["turning.example"] = lambda: next(answers)
    sandbox = proxies.sandbox("turning.example")
    assert connect(sandbox, "turning.example:443").startswith(OPEN)
    assert sandbox.allowed().data["address"] == "203.0.113.10"
    assert world.asked.count("turning.example") == 1
    assert connect(sandbox, "turning.example:443").startswith(b"HTTP/1.1 403 ")
    assert connect(sandbox, "turning.example:443").startswith(b"HTTP/1.1 403 ")


def test_only_open_ports_are_reached_and_22_never(proxies: Proxies) -> None:
    sandbox = proxies.sandbox(policy=Policy((Rule(ALLOWED, ports=(443, 8443)),)))
    assert connect(sandbox, f"{ALLOWED}:8443").startswith(OPEN)
    assert connect(sandbox, f"{ALLOWED}:22").startswith(b"HTTP/1.1 403 ")
    assert connect(sandbox, f"{ALLOWED}:80").startswith(b"HTTP/1.1 403 ")
    sandbox.wait(lambda e: e.data["port"] == 22)
    sandbox.wait(lambda e: e.data["port"] == 80)
    assert {e.data["port"] for e in sandbox.events() if e.kind == "network.denied"} == {22, 80}
    with pytest.raises(ValueError, match="Port 22 cannot be opened"):
        Rule(ALLOWED, ports=(22,))


def test_a_name_that_does_not_resolve_and_a_dead_server_are_told_apart(proxies: Proxies) -> None:
    sandbox = proxies.sandbox("nowhere.example", "dead.example")
    assert connect(sandbox, "nowhere.example:443").startswith(b"HTTP/1.1 502 ")
    assert connect(sandbox, "dead.example:443").startswith(b"HTTP/1.1 502 ")
    assert sandbox.allowed("unresolvable").data["host"] == "nowhere.example"
    assert sandbox.allowed("unreachable").data["address"] == "203.0.113.12"


def test_a_second_address_is_tried_when_the_first_refuses(proxies: Proxies) -> None:
    sandbox = proxies.sandbox("half.example")
    assert connect(sandbox, "half.example:443").startswith(OPEN)


def test_nothing_but_the_proxy_is_reachable(proxies: Proxies, world: World) -> None:
    sandbox = proxies.sandbox(ALLOWED)

    def knock(family: int, kind: int, address: tuple[str, int]) -> None:
        with socket.socket(family, kind) as sock:
            sock.settimeout(WAIT)
            sock.connect(address)
            sock.send(b"x")

    for family, kind, address in (
        (socket.AF_INET, socket.SOCK_STREAM, ("203.0.113.10", 443)),
        (socket.AF_INET, socket.SOCK_STREAM, ("198.51.100.2", 53)),
        (socket.AF_INET, socket.SOCK_DGRAM, ("198.51.100.2", 53)),
        (socket.AF_INET6, socket.SOCK_STREAM, ("2600:2::1", 443)),
        (socket.AF_INET6, socket.SOCK_DGRAM, ("2600:2::1", 53)),
    ):
        with pytest.raises(OSError, match=r"Network is unreachable|Cannot assign"):
            sandbox.space.inside(lambda f=family, k=kind, a=address: knock(f, k, a))  # type: ignore[misc]
    with pytest.raises(ConnectionRefusedError):
        sandbox.space.inside(lambda: knock(socket.AF_INET, socket.SOCK_STREAM, ("127.0.0.1", 22)))


def test_another_allowlist_ends_what_it_no_longer_allows(proxies: Proxies, world: World) -> None:
    sandbox = proxies.sandbox(ALLOWED)
    with sandbox.connect() as sock:
        sock.sendall(f"CONNECT {ALLOWED}:443 HTTP/1.1\r\n\r\n".encode())
        assert sock.recv(len(OPEN), socket.MSG_WAITALL) == OPEN
        world.run(proxies.client.update(sandbox.id, Policy.of(["other.example"])))
        assert drain(sock) == b""
    assert sandbox.allowed("no_longer_allowed").data["host"] == ALLOWED
    assert connect(sandbox, f"{ALLOWED}:443").startswith(b"HTTP/1.1 403 ")


def test_removing_a_sandbox_ends_its_connections_and_each_has_been_told(
    proxies: Proxies, world: World
) -> None:
    sandbox = proxies.sandbox(ALLOWED)
    with sandbox.connect() as sock:
        sock.sendall(f"CONNECT {ALLOWED}:443 HTTP/1.1\r\n\r\n".encode())
        assert sock.recv(len(OPEN), socket.MSG_WAITALL) == OPEN
        world.run(proxies.client.remove(sandbox.id))
        assert [e.data["reason"] for e in sandbox.events()] == ["removed"]
        assert drain(sock) == b""
    with pytest.raises(ConnectionRefusedError):
        sandbox.connect()
    world.run(proxies.client.remove(sandbox.id))


def test_two_sandboxes_have_two_allowlists(proxies: Proxies) -> None:
    one, other = proxies.sandbox(ALLOWED), proxies.sandbox("six.example")
    assert connect(one, "six.example:443").startswith(b"HTTP/1.1 403 ")
    assert connect(other, "six.example:443").startswith(OPEN)
    assert one.denied("not_allowed").data["host"] == "six.example"
    assert other.allowed().data["host"] == "six.example"
    assert [e.kind for e in other.events()] == ["network.allowed"]


def test_connecting_in_a_loop_does_not_fill_the_timeline_and_no_byte_goes_uncounted(
    proxies_with: Callable[[Limits], Proxies],
) -> None:
    sandbox = proxies_with(Limits(events_per_second=0.01, events_burst=5)).sandbox(ALLOWED)
    for _ in range(40):
        assert connect(sandbox, f"{ALLOWED}:443") == OPEN + b"echo:hello"
    sandbox.proxies.world.run(sandbox.proxies.client.remove(sandbox.id))
    told = [event.data for event in sandbox.events() if event.kind == "network.allowed"]
    assert len(told) < 20
    assert sum(data.get("left_out", 1) for data in told) == 40
    assert sum(data["bytes_up"] for data in told) == 40 * len(b"hello")
