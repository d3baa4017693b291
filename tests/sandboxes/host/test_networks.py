"""Networks by mode, on a machine and an internet of the test's own."""

from __future__ import annotations

import asyncio
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from ipaddress import IPv4Network
from pathlib import Path

import pytest

from sandboxes.host import namespaces, netns
from sandboxes.host.egress.client import EgressClient
from sandboxes.host.egress.policy import Policy
from sandboxes.host.nat import Nat, NatError
from sandboxes.host.networks import Attachment, Mode, Networks, proxy_environment
from tests.sandboxes.host.egress.world import UPLINK, WAIT, Space, World
from timeline.events import NewEvent

ALLOWED = "allowed.example"
SUBNET = IPv4Network("10.240.0.0/16")


async def peer_of(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Says who seems to be calling."""
    writer.write(writer.get_extra_info("peername")[0].encode())
    writer.close()


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="networks-world-") as folder:
        world = World(Path(folder))
        for address in ("203.0.113.10", "10.99.0.1", "169.254.169.254"):
            world.serve(address, 443, peer_of)
        for port in (22, 25):
            world.serve("203.0.113.10", port, peer_of)
        world.serve("2600:2::1", 443, peer_of)
        world.names[ALLOWED] = ["203.0.113.10"]
        world.run(asyncio.start_server(peer_of, "0.0.0.0", 8080))  # noqa: S104 - the machine's own
        yield world
        world.end()


class Host:
    """Networks as a host daemon has them."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.folder = Path(tempfile.mkdtemp(prefix="networks-"))
        self.reported: list[tuple[str, NewEvent]] = []
        self.start()

    def start(self) -> None:
        egress = EgressClient(self.folder, report=lambda *pair: self.reported.append(pair))
        self.nat = Nat(tag="test", subnet=SUBNET, nameservers=["10.99.0.53"])
        self.networks = Networks(egress=egress, nat=self.nat)
        self.world.run(self.networks.start())

    def stop(self, *, stop: bool) -> None:
        self.world.run(self.networks.close(stop=stop))

    def attach(self, mode: Mode, sandbox_id: str, *names: str) -> tuple[Space, Attachment]:
        space = self.world.space()
        policy = Policy.of(names)
        attachment = self.world.run(
            self.networks.attach(mode, sandbox_id, space.pid, policy=policy)
        )
        return space, attachment


@pytest.fixture
def host(world: World) -> Iterator[Host]:
    host = Host(world)
    yield host
    host.stop(stop=True)
    shutil.rmtree(host.folder)
    assert "orkestr_test" not in on_machine(world, "nft", "list", "tables")
    assert "orktest" not in on_machine(world, "ip", "-br", "link")


def on_machine(world: World, *command: str) -> str:
    async def work() -> str:
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, check=True
        )
        return str(done.stdout)

    return world.run(work())


def call(space: Space, address: str, port: int = 443, *, seconds: float = WAIT) -> str:
    """What the server says. Raises ``OSError``."""

    def work() -> str:
        with socket.create_connection((address, port), seconds) as sock:
            sock.settimeout(WAIT)
            return sock.recv(100).decode()

    return space.inside(work)


def refused(space: Space, address: str, port: int = 443) -> bool:
    """Whether packets go nowhere. What should not arrive is given a second not to."""
    try:
        call(space, address, port, seconds=1)
    except OSError:
        return True
    return False


def curl(space: Space, url: str) -> str:
    variables = [f"{name}={value}" for name, value in proxy_environment().items()]
    return space.run("env", *variables, "curl", "-sS", "-m", "20", url).stderr


def test_off_has_a_loopback_and_nothing_else(host: Host) -> None:
    space, attachment = host.attach("off", "sbx_off")
    assert attachment.address is None
    assert refused(space, "203.0.113.10")
    assert "UP" in space.run("ip", "link", "show", "dev", "lo").stdout
    assert space.run("ip", "-br", "link").stdout.count("\n") == 1


def test_restricted_reaches_the_proxy_and_nothing_else(host: Host) -> None:
    space, _ = host.attach("restricted", "sbx_restricted", ALLOWED)
    assert refused(space, "203.0.113.10")
    assert refused(space, UPLINK, 53)
    assert "403" in curl(space, "https://other.example/")
    assert "403" not in curl(space, f"https://{ALLOWED}/")
    assert space.run("ip", "-br", "link").stdout.count("\n") == 1
    kinds = [(sandbox_id, event.kind) for sandbox_id, event in host.reported]
    assert ("sbx_restricted", "network.denied") in kinds


def test_open_reaches_the_internet_from_the_machines_address(host: Host) -> None:
    space, attachment = host.attach("open", "sbx_open")
    assert attachment.address is not None
    assert call(space, "203.0.113.10") == UPLINK


@pytest.mark.parametrize(
    ("address", "port"),
    [
        ("10.99.0.1", 443),
        ("169.254.169.254", 443),
        ("203.0.113.10", 25),
        (UPLINK, 8080),
        ("10.240.0.1", 8080),
        ("2600:2::1", 443),
    ],
)
def test_open_reaches_neither_private_addresses_nor_the_machine(
    host: Host, address: str, port: int
) -> None:
    space, _ = host.attach("open", "sbx_open")
    assert call(space, "203.0.113.10") == UPLINK
    assert refused(space, address, port)


def test_open_sandboxes_cannot_reach_each_other(host: Host) -> None:
    one, _ = host.attach("open", "sbx_one")
    other, attachment = host.attach("open", "sbx_other")
    assert attachment.address is not None

    def listen() -> socket.socket:
        return socket.create_server(("0.0.0.0", 8080))  # noqa: S104

    with other.inside(listen) as sock:
        assert refused(one, attachment.address, 8080)
        assert call_local(other, sock)


def call_local(space: Space, sock: socket.socket) -> bool:
    def work() -> None:
        socket.create_connection(("127.0.0.1", 8080), WAIT).close()

    space.inside(work)
    sock.settimeout(WAIT)
    sock.accept()[0].close()
    return True


def test_a_sandbox_cannot_speak_from_another_address(host: Host, world: World) -> None:
    space, attachment = host.attach("open", "sbx_one")
    _, other = host.attach("open", "sbx_other")
    for address in ("10.240.77.77", str(other.address), "203.0.113.99"):
        space.run("ip", "addr", "add", f"{address}/32", "dev", "eth0")
        with world.internet.inside(lambda: datagrams("203.0.113.10")) as server:
            for source in (address, str(attachment.address)):
                space.inside(lambda source=source: say(source, "203.0.113.10"))  # type: ignore[misc]
            assert server.recv(100).decode() == attachment.address


def datagrams(address: str) -> socket.socket:
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind((address, 5300))
    sock.settimeout(WAIT)
    return sock


def say(source: str, destination: str) -> None:
    """Send one's own address, from it."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
        sock.bind((source, 0))
        sock.sendto(source.encode(), (destination, 5300))


def test_names_go_to_the_machines_resolver_through_the_gateway(host: Host, world: World) -> None:
    host.world.internet.inside(
        lambda: subprocess.run(["ip", "addr", "replace", "10.99.0.53/32", "dev", "lo"], check=True)
    )
    world.serve("10.99.0.53", 53, peer_of)
    assert host.networks.resolv_conf("open").startswith("nameserver 10.240.0.1\n")
    space, _ = host.attach("open", "sbx_open")
    assert call(space, "10.240.0.1", 53) == UPLINK
    assert refused(space, "10.240.0.1", 54)


def test_without_a_network_a_lookup_fails_at_once(host: Host) -> None:
    assert host.networks.resolv_conf("restricted").startswith("nameserver 127.0.0.1\n")
    assert host.networks.resolv_conf("off") == host.networks.resolv_conf("restricted")


def test_only_a_restricted_sandbox_is_told_of_the_proxy(host: Host) -> None:
    environment = host.networks.environment("restricted")
    assert environment["HTTPS_PROXY"] == environment["https_proxy"] == "http://127.0.0.1:3128"
    assert "127.0.0.1" in environment["NO_PROXY"]
    assert host.networks.environment("off") == host.networks.environment("open") == {}


def test_the_next_host_finds_everything_and_takes_away_what_is_not_known(
    host: Host, world: World
) -> None:
    kept, before = host.attach("open", "sbx_kept")
    host.attach("open", "sbx_stray")
    restricted, _ = host.attach("restricted", "sbx_restricted", ALLOWED)
    host.attach("restricted", "sbx_gone", ALLOWED)
    host.stop(stop=False)
    host.start()
    swept = world.run(host.networks.sweep({"sbx_kept", "sbx_restricted"}))
    assert sorted(swept) == ["sbx_gone", "sbx_stray"]
    again = world.run(host.networks.attach("open", "sbx_kept", kept.pid))
    assert again == before
    assert call(kept, "203.0.113.10") == UPLINK
    world.run(host.networks.attach("restricted", "sbx_restricted", restricted.pid, policy=Policy()))
    assert "403" in curl(restricted, f"https://{ALLOWED}/")
    assert set(world.run(host.nat.links())) == {"sbx_kept"}
    _, fresh = host.attach("open", "sbx_fresh")
    assert fresh.address != before.address


def test_set_up_twice_is_set_up_once(host: Host, world: World) -> None:
    space, _ = host.attach("open", "sbx_open")
    first = on_machine(world, "nft", "list", "table", "inet", "orkestr_test")
    world.run(host.nat.setup())
    assert rules_of(on_machine(world, "nft", "list", "table", "inet", "orkestr_test")) == rules_of(
        first
    )
    assert call(space, "203.0.113.10") == UPLINK


def rules_of(listing: str) -> list[str]:
    """Without the sets' passing elements."""
    return [line for line in listing.splitlines() if "elements" not in line]


def test_detaching_takes_all_away_and_may_be_said_twice(host: Host, world: World) -> None:
    space, _ = host.attach("open", "sbx_open")
    other, _ = host.attach("restricted", "sbx_restricted", ALLOWED)
    for sandbox_id in ("sbx_open", "sbx_restricted", "sbx_open", "sbx_never"):
        world.run(host.networks.detach(sandbox_id))
    assert refused(space, "203.0.113.10")
    assert refused(other, "127.0.0.1", 3128)
    assert world.run(host.nat.links()) == {}


def test_a_sandbox_that_is_gone_leaves_nothing(host: Host, world: World) -> None:
    space, _ = host.attach("open", "sbx_open")
    pid = space.pid
    space.process.kill()
    space.process.wait(WAIT)
    with pytest.raises(NatError):
        world.run(host.nat.attach("sbx_late", pid))
    assert world.run(host.nat.links()).keys() <= {"sbx_open"}


def test_a_free_subnet_is_found_beside_the_machines_routes(world: World) -> None:
    on_machine(world, "ip", "route", "add", "10.213.0.0/20", "via", "198.51.100.1")
    nat = Nat(tag="free", nameservers=[])
    world.run(nat.setup())
    assert nat.subnet == IPv4Network("10.214.0.0/16")
    assert nat.nameservers() == []
    world.run(nat.teardown())
    on_machine(world, "ip", "route", "delete", "10.213.0.0/20")


def test_resolvers_on_the_loopback_are_not_passed_on(world: World) -> None:
    nat = Nat(tag="dns", subnet=SUBNET, nameservers=["127.0.0.53", "::1", "203.0.113.53", "x"])
    assert nat.nameservers() == ["10.240.0.1"]


def test_work_inside_a_namespace_stays_there_and_errors_come_out(world: World) -> None:
    space = world.space()
    namespaces.inside(netns.of_process(space.pid), netns.raise_loopback)
    with pytest.raises(OSError, match="unreachable"):
        space.inside(lambda: socket.create_connection(("203.0.113.10", 443), 1))
    with pytest.raises(FileNotFoundError):
        namespaces.inside(Path("/proc/nothing/ns/net"), netns.raise_loopback)
