"""The host's side: a proxy that dies, a host that dies, a proxy that is not to be trusted."""

from __future__ import annotations

import os
import signal
import socket
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sandboxes.host.egress import client, spawn
from sandboxes.host.egress.events import event
from sandboxes.host.egress.limits import Limits
from sandboxes.host.egress.policy import Policy, Rule

from .conftest import Proxies, Sandbox, drain
from .test_connect import ALLOWED, OPEN, connect, echo
from .world import WAIT, World


@pytest.fixture(scope="module", autouse=True)
def far_server(world: World) -> None:
    world.serve("203.0.113.10", 443, echo)
    world.names[ALLOWED] = ["203.0.113.10"]


@pytest.fixture
def own(world: World) -> Iterator[Proxies]:
    """A proxy process of this test's own."""
    proxies = Proxies(world, Path(tempfile.mkdtemp(prefix="egress-")), Limits())
    yield proxies
    proxies.end()


def tunnel(sandbox: Sandbox) -> socket.socket:
    sock = sandbox.connect()
    sock.sendall(f"CONNECT {ALLOWED}:443 HTTP/1.1\r\n\r\n".encode())
    assert sock.recv(len(OPEN), socket.MSG_WAITALL) == OPEN
    return sock


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + WAIT
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_process_has_no_rights(own: Proxies) -> None:
    assert own.client.pid is not None
    status = dict(
        line.split(":\t", 1)
        for line in Path(f"/proc/{own.client.pid}/status").read_text().splitlines()
    )
    uid = str(spawn.PROXY_UID)
    assert set(status["Uid"].split()) == set(status["Gid"].split()) == {uid}
    assert status["Groups"].strip() == ""
    assert status["NoNewPrivs"] == "1"
    for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
        assert int(status[name], 16) == 0, name
    environment = Path(f"/proc/{own.client.pid}/environ").read_bytes()
    assert {entry.split(b"=")[0] for entry in environment.split(b"\0") if entry} <= {
        b"PATH",
        b"PYTHONPATH",
        b"LANG",
    }


def test_only_the_hosts_user_can_reach_the_control_socket(own: Proxies) -> None:
    mode = spawn.socket_path(own.folder).stat().st_mode
    assert stat.S_ISSOCK(mode)
    assert stat.S_IMODE(mode) == 0o600


def test_a_proxy_that_dies_is_started_again_with_every_listener(own: Proxies) -> None:
    one, other = own.sandbox(ALLOWED), own.sandbox("other.example")
    first = own.client.pid
    assert first is not None
    with tunnel(one) as sock:
        os.kill(first, signal.SIGKILL)
        assert drain(sock) == b""
    assert one.allowed("proxy_lost").data["host"] == ALLOWED
    assert connect(one, f"{ALLOWED}:443").startswith(OPEN)
    assert connect(other, f"{ALLOWED}:443").startswith(b"HTTP/1.1 403 ")
    assert own.client.pid != first


def test_orders_given_while_the_proxy_is_away_are_kept(own: Proxies, world: World) -> None:
    sandbox, gone = own.sandbox(ALLOWED), own.sandbox(ALLOWED)
    assert own.client.pid is not None
    os.kill(own.client.pid, signal.SIGKILL)
    world.run(own.client.update(sandbox.id, Policy.of(["other.example"])))
    world.run(own.client.remove(gone.id))
    late = own.sandbox(ALLOWED)
    assert connect(sandbox, f"{ALLOWED}:443").startswith(b"HTTP/1.1 403 ")
    assert connect(late, f"{ALLOWED}:443").startswith(OPEN)
    with pytest.raises(ConnectionRefusedError):
        gone.connect()


def test_the_next_host_takes_over_listeners_and_open_connections(
    own: Proxies, world: World
) -> None:
    sandbox = own.sandbox(policy=Policy((Rule(ALLOWED, ports=(443, 8443)),)))
    first = own.client.pid
    with tunnel(sandbox) as sock:
        world.run(own.client.close(stop=False))
        assert connect(sandbox, "other.example:443").startswith(b"HTTP/1.1 403 ")
        assert sandbox.events() == []
        own.client = own.make()
        world.run(own.client.start())
        assert own.client.serving() == {sandbox.id: Policy((Rule(ALLOWED, ports=(443, 8443)),))}
        assert own.client.pid is None
        sock.sendall(b"still here")
        sock.shutdown(socket.SHUT_WR)
        assert drain(sock) == b"echo:still here"
    assert sandbox.denied("not_allowed").data["host"] == "other.example"
    assert sandbox.allowed().data["bytes_up"] == len("still here")
    assert len(sandbox.events()) == 2
    with tunnel(sandbox):
        os.kill(first or 0, signal.SIGKILL)
        assert sandbox.allowed("proxy_lost").data["host"] == ALLOWED
    assert connect(sandbox, f"{ALLOWED}:443").startswith(OPEN)


def test_a_proxy_that_does_not_answer_is_replaced(
    own: Proxies, world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "_CALL_SECONDS", 1.0)
    sandbox = own.sandbox(ALLOWED)
    first = own.client.pid
    assert first is not None
    os.kill(first, signal.SIGSTOP)
    with pytest.raises(client.EgressError, match="does not answer"):
        world.run(own.client.update(sandbox.id, Policy.of([ALLOWED])))
    until(lambda: own.client.pid != first)
    assert connect(sandbox, f"{ALLOWED}:443").startswith(OPEN)
    assert not Path(f"/proc/{first}").exists()


def test_a_proxy_without_a_host_ends_after_a_while(world: World) -> None:
    folder = Path(tempfile.mkdtemp(prefix="egress-"))
    proxies = Proxies(world, folder, Limits(), orphan_seconds=0.5)
    process = proxies.client.pid
    world.run(proxies.client.close(stop=False))
    until(lambda: ended(process))
    proxies.client = proxies.make()
    world.run(proxies.client.start())
    assert proxies.client.pid != process
    proxies.end()


def test_stopping_leaves_nothing_behind(world: World) -> None:
    proxies = Proxies(world, Path(tempfile.mkdtemp(prefix="egress-")), Limits())
    sandbox, process = proxies.sandbox(ALLOWED), proxies.client.pid
    with tunnel(sandbox) as sock:
        proxies.end()
        assert drain(sock) == b""
    assert not Path(f"/proc/{process}").exists()
    assert [e.data["reason"] for e in sandbox.events()] == ["removed"]


@pytest.mark.parametrize(
    "record",
    [
        {"op": "closed"},
        {"op": "denied", "host": 5, "port": "x", "reason": None, "left_out": -1},
        {"op": "closed", "host": "a" * 10_000, "port": True, "bytes_up": 1 << 80},
        {"op": "denied", "host": "nul\0", "detail": ["x"], "allow": {}},
    ],
)
def test_what_the_proxy_says_is_bounded_and_typed(record: dict[str, object]) -> None:
    made = event(record)
    assert made is not None
    for key, value in made.data.items():
        assert type(value) in {str, int}, key
        assert not isinstance(value, str) or (len(value) <= 400 and "\0" not in value)
        assert not isinstance(value, int) or 0 <= value < 1 << 53


def test_other_records_are_no_events() -> None:
    assert event({"op": "opened"}) is event({}) is event({"op": ["closed"]}) is None


def ended(pid: int | None) -> bool:
    """Whether the process is over; its parent may not have taken note yet."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
