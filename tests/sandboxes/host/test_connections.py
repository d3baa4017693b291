"""Networks of real sandboxes, under a host whose machine and internet are the test's own."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sandboxes.host.egress.policy import Policy
from sandboxes.host.types import HostError
from tests.sandboxes.host.egress.world import UPLINK, World
from tests.sandboxes.host.hosting import ACTOR, HostProcess, Sandboxed, both, new_spec
from tests.sandboxes.host.internet import NAMES, Site, authority, repository
from tests.sandboxes.host.test_networks import on_machine, peer_of
from tests.waiting import until
from timeline.events import NewEvent
from timeline.journal import Journal

WEB = "203.0.113.10"
TRUST = "/workspace/authority.pem"
TRUSTING = dict.fromkeys(("GIT_SSL_CAINFO", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE"), TRUST)
START_SECONDS = 90

#: Tries each of its arguments (address,port) and prints which of them answer.
PROBE = """
import socket, sys, threading
def probe(text):
    address, port = text.rsplit(",", 1)
    try:
        socket.create_connection((address, int(port)), 3).close()
    except OSError:
        return
    sys.stdout.write(text + "\\n")
threads = [threading.Thread(target=probe, args=(text,)) for text in sys.argv[1:]]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
"""


@dataclass
class Place:
    """A host in its world, and the one site of its internet."""

    world: World
    host: HostProcess
    site: Site
    certificate: bytes

    def on_machine(self, work: str) -> None:
        """Call a method of the host's on the world's machine."""

        async def call() -> None:
            await asyncio.to_thread(getattr(self.host, work))

        self.world.run(call(), timeout=START_SECONDS)

    async def sandbox(self, network: str, *names: str, **changes: object) -> Sandboxed:
        rules = Policy.of(names).to_json()
        fields: dict[str, object] = {"template": "python-3.12-bare", "env": TRUSTING, **changes}
        spec = new_spec(network=network, rules=rules, memory_mb=512, disk_mb=512, **fields)
        await self.host.client.create(spec, actor=ACTOR)
        await self.host.client.write_file(spec.sandbox_id, TRUST, self.certificate, actor=ACTOR)
        await self.host.client.write_file(
            spec.sandbox_id, "/workspace/probe.py", PROBE.encode(), actor=ACTOR
        )
        return Sandboxed(self.host, spec)

    def told(self, sandbox: Sandboxed, kind: str) -> list[dict[str, object]]:
        return [dict(e.data) for e in self.host.events(sandbox.id) if e.kind == kind]

    def proxy(self) -> int:
        return int((self.host.directory / "egress" / "egress.pid").read_text().split()[0])


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="connections-") as folder:
        world = World(Path(folder))
        yield world
        world.end()


@pytest.fixture(scope="module")
def _place(world: World, templates: Path, redis_url: str) -> Iterator[Place]:
    folder = Path(tempfile.mkdtemp(prefix="connections-site-"))
    site = Site(folder / "files")
    site.folder.mkdir()
    (site.folder / "page").write_text("hello from the web\n")
    repository(site.folder)
    certificate, tls = authority(folder)
    world.serve(WEB, 443, site.handle, tls=tls)
    world.names.update({name: [WEB] for name in NAMES})
    for address, port in (("10.99.0.1", 443), ("169.254.169.254", 443), ("2600:2::1", 443)):
        world.serve(address, port, peer_of)
    world.serve("203.0.113.11", 8080, peer_of)
    world.run(asyncio.start_server(peer_of, "", 8080))  # the machine's own, on every address
    place = Place(world, HostProcess(templates, redis_url), site, certificate)
    place.on_machine("start")
    yield place
    place.on_machine("close")
    shutil.rmtree(folder)
    assert "orkestr_" not in on_machine(world, "nft", "list", "tables")


@pytest.fixture
def place(_place: Place) -> Place:
    """With a host that answers, also after a test that killed it."""
    if _place.host.process is None:
        _place.on_machine("start")
    return _place


async def reached(sandbox: Sandboxed, *targets: str) -> set[str]:
    return set((await sandbox.output(f"python3 probe.py {' '.join(targets)}")).split())


async def serve(sandbox: Sandboxed) -> None:
    """Have it listen on port 8000, and answer."""
    ready = "python3 probe.py 127.0.0.1,8000 | grep -q 8000"
    await sandbox.output(
        f"python3 -m http.server 8000 > log 2>&1 & until {ready}; do sleep 0.1; done"
    )


@both
async def test_curl_git_and_requests_work_with_no_set_up(place: Place, isolation: str) -> None:
    sandbox = await place.sandbox(
        "restricted", "example.org", template="python-3.12", isolation=isolation
    )
    assert await sandbox.output("curl -sS https://www.example.org/page") == "hello from the web\n"
    await sandbox.output("git clone -q https://git.example.org/project.git")
    assert await sandbox.output("cat project/README") == "hello from the repository\n"
    script = "import requests; print(requests.get('https://www.example.org/page').text)"
    assert "hello from the web" in await sandbox.output(f'python3 -c "{script}"')
    await sandbox.terminate()
    hosts = [data["host"] for data in place.told(sandbox, "network.allowed")]
    assert set(hosts) == {"www.example.org", "git.example.org"}


async def test_any_other_host_is_refused_and_the_event_says_what_to_allow(place: Place) -> None:
    sandbox = await place.sandbox("restricted", "git.example.org")
    assert "403" in await sandbox.fails("curl -sS https://www.example.org/page")
    event = await asyncio.to_thread(place.host.until_event, sandbox.id, "network.denied")
    assert (event.data["host"], event.data["allow"]) == ("www.example.org", "www.example.org")
    assert event.actor.type == "policy"
    await sandbox.terminate()


async def test_a_domain_is_allowed_while_a_sandbox_runs_and_stays_so_over_a_killed_host(
    place: Place,
) -> None:
    sandbox = await place.sandbox("restricted", "git.example.org")
    page = "curl -sS https://www.example.org/page"
    assert "403" in await sandbox.fails(page)
    for _ in range(2):
        await place.host.client.allow(sandbox.id, "www.example.org")
    assert await sandbox.output(page) == "hello from the web\n"
    place.host.kill()
    await asyncio.to_thread(place.on_machine, "start")
    assert await sandbox.output(page) == "hello from the web\n"
    for domain, said in (("https://x", "https://x"), ("10.0.0.1", "10.0.0.1")):
        with pytest.raises(HostError, match=said):
            await place.host.client.allow(sandbox.id, domain)
    await sandbox.terminate()
    offline = await place.sandbox("off")
    with pytest.raises(HostError, match="restricted"):
        await place.host.client.allow(offline.id, "www.example.org")
    await offline.terminate()


@both
async def test_restricted_reaches_nothing_but_its_proxy(place: Place, isolation: str) -> None:
    other = await place.sandbox("open")
    address = (await other.output("hostname -I")).split()[0]
    await serve(other)
    sandbox = await place.sandbox("restricted", "example.org", isolation=isolation)
    interfaces = await sandbox.output("tail -n +3 /proc/net/dev | cut -d: -f1")
    assert interfaces.split() == ["lo"]
    targets = [f"{WEB},443", f"{UPLINK},8080", "2600:1::2,8080", "2600:2::1,443", f"{address},8000"]
    targets += ["127.0.0.1,53", "127.0.0.1,8080", "::1,8080", "10.99.0.1,443", "127.0.0.1,3128"]
    assert await reached(sandbox, *targets) == {"127.0.0.1,3128"}
    assert await sandbox.fails(
        "python3 -c 'import socket; socket.gethostbyname(\"www.example.org\")'"
    )
    assert "403" in await sandbox.fails("curl -sS https://10.99.0.1/")
    await other.terminate()
    await sandbox.terminate()


@both
async def test_open_reaches_the_internet_and_neither_machine_nor_neighbours(
    place: Place, isolation: str
) -> None:
    one, other = await place.sandbox("open", isolation=isolation), await place.sandbox("open")
    restricted = await place.sandbox("restricted", "example.org", isolation=isolation)
    address = (await other.output("hostname -I")).split()[0]
    await serve(other)
    first = ".".join([*address.split(".")[:2], "0", "1"])
    blocked = [f"{UPLINK},8080", f"{first},8080", f"{address},8000", "10.99.0.1,443"]
    blocked += ["169.254.169.254,443", "2600:2::1,443", "2600:1::2,8080", "127.0.0.1,3128"]
    targets = [f"{WEB},443", "203.0.113.11,8080", *blocked]
    assert await reached(one, *targets) == {f"{WEB},443", "203.0.113.11,8080"}
    assert await reached(restricted, f"{address},8000") == set()
    for sandbox in (one, other, restricted):
        await sandbox.terminate()


async def test_a_sandbox_cannot_change_its_network(place: Place) -> None:
    sandbox = await place.sandbox("open")
    change = (
        "import fcntl, socket, struct; s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); "
        "fcntl.ioctl(s, 0x8916, struct.pack('16sH14s', b'eth0', 2, bytes(14)))"
    )
    assert "PermissionError" in await sandbox.fails(f'python3 -c "{change}"')
    raw = "import socket; socket.socket(socket.AF_INET, socket.SOCK_RAW, 1)"
    assert "PermissionError" in await sandbox.fails(f'python3 -c "{raw}"')
    await sandbox.fails("echo 0 > /proc/sys/net/ipv6/conf/all/disable_ipv6")
    await sandbox.terminate()


@both
async def test_restricted_sandboxes_work_on_while_their_host_is_dead_and_nothing_is_lost(
    place: Place, isolation: str
) -> None:
    sandbox = await place.sandbox("restricted", "example.org", isolation=isolation)
    place.site.visits.clear()
    loop = "until [ -e stop ]; do curl -sS https://www.example.org/page || exit 1; done"
    running = asyncio.ensure_future(sandbox.exec(loop, timeout_seconds=120))
    await asyncio.to_thread(until, lambda: len(place.site.visits) > 2, what="connections")
    proxy = place.proxy()
    place.host.kill()
    await asyncio.gather(running, return_exceptions=True)
    before = len(place.site.visits)
    await asyncio.to_thread(
        until, lambda: len(place.site.visits) > before + 3, what="connections without a host"
    )
    await asyncio.to_thread(place.on_machine, "start")
    assert place.proxy() == proxy
    before = len(place.site.visits)
    await asyncio.to_thread(until, lambda: len(place.site.visits) > before + 3, what="more")
    await sandbox.output("touch stop")

    def exit_codes() -> list[int]:
        events = place.host.events(sandbox.id)
        return [one.data["exit_code"] for one in events if one.kind == "command.exited"]

    # Of both commands: what ends with the sandbox leaves a connection that no visit came of.
    await asyncio.to_thread(until, lambda: len(exit_codes()) == 2, what="the loop has ended")
    assert exit_codes() == [0, 0]
    await sandbox.terminate()
    await asyncio.to_thread(place.host.until_event, sandbox.id, "sandbox.terminated")
    told = place.told(sandbox, "network.allowed")
    assert len({one["record"] for one in told}) == len(told)
    assert len(told) == len(place.site.visits), told


async def test_a_connection_that_a_killed_host_had_written_is_not_told_twice(
    place: Place,
) -> None:
    sandbox = await place.sandbox("restricted", "example.org")
    curl = "curl -sS https://www.example.org/page"
    await sandbox.output(curl)
    loop = asyncio.ensure_future(
        sandbox.exec(f"until [ -e stop ]; do sleep 0.1; {curl} || exit 1; done", timeout_seconds=60)
    )
    await asyncio.to_thread(until, lambda: len(place.told(sandbox, "network.allowed")) > 2)
    place.host.kill()
    await asyncio.gather(loop, return_exceptions=True)
    before = len(place.site.visits)
    await asyncio.to_thread(until, lambda: len(place.site.visits) > before + 1, what="connections")
    # Now the proxy keeps at least one record. The host that died had come to write it:
    journal = Journal(place.host.directory / "sandboxes" / sandbox.id, sandbox.id)
    written = [event for event in journal.scan() if event.kind == "network.allowed"]
    run, _, number = str(written[-1].data["record"]).partition("-")
    for later in (1, 2):  # a connection is two records: opened, then closed
        data = {**written[-1].data, "record": f"{run}-{int(number) + later}"}
        journal.append(NewEvent("network.allowed", data))
    journal.close()
    await asyncio.to_thread(place.on_machine, "start")
    await sandbox.output("touch stop")
    await asyncio.to_thread(place.host.until_event, sandbox.id, "command.exited")
    await sandbox.terminate()
    await asyncio.to_thread(place.host.until_event, sandbox.id, "sandbox.terminated")
    records = [one["record"] for one in place.told(sandbox, "network.allowed")]
    assert len(records) == len(set(records))
    assert {f"{run}-{int(number) + later}" for later in (1, 2)} <= set(records)
    assert len(records) > len(written) + 2


async def test_open_sandboxes_keep_their_address_over_a_killed_host(place: Place) -> None:
    sandbox = await place.sandbox("open")
    address = await sandbox.output("hostname -I")
    place.host.kill()
    await asyncio.to_thread(place.on_machine, "start")
    assert await sandbox.output("hostname -I") == address
    assert await reached(sandbox, f"{WEB},443") == {f"{WEB},443"}
    other = await place.sandbox("open")
    assert await other.output("hostname -I") != address
    await sandbox.terminate()
    await other.terminate()


async def test_what_is_open_when_a_sandbox_ends_is_told_before_its_end(place: Place) -> None:
    sandbox = await place.sandbox("restricted", "example.org")
    script = (
        "import socket, time; s = socket.create_connection(('127.0.0.1', 3128)); "
        "ask = 'CONNECT www.example.org:443 HTTP/1.1|Host: www.example.org||'; "
        "s.sendall(ask.replace('|', chr(13) + chr(10)).encode()); "
        "print(s.recv(100), flush=True); time.sleep(60)"
    )
    running = asyncio.ensure_future(sandbox.exec(f'python3 -c "{script}"', timeout_seconds=60))
    await asyncio.to_thread(place.host.until_event, sandbox.id, "command.output")
    await sandbox.terminate()
    await asyncio.gather(running, return_exceptions=True)
    await asyncio.to_thread(place.host.until_event, sandbox.id, "sandbox.terminated")
    kinds = [event.kind for event in place.host.events(sandbox.id)]
    assert kinds[-1] == "sandbox.terminated"
    assert kinds.count("network.allowed") == 1


async def test_a_sandbox_killed_from_outside_leaves_no_network_behind(place: Place) -> None:
    opened = await place.sandbox("open")
    restricted = await place.sandbox("restricted", "example.org")
    for sandbox in (opened, restricted):
        os.kill(place.host.init_pid(sandbox.id), signal.SIGKILL)
        await asyncio.to_thread(place.host.until_event, sandbox.id, "sandbox.failed")

    def links() -> list[str]:
        rows = json.loads(on_machine(place.world, "ip", "-j", "link", "show"))
        return [str(row.get("ifalias", "")) for row in rows]

    await asyncio.to_thread(
        until, lambda: not any(opened.id in alias for alias in links()), what="the link is gone"
    )


async def test_of_creates_cut_short_by_a_killed_host_no_network_is_left(place: Place) -> None:
    specs = [new_spec(network=network) for network in ("open", "restricted") * 3]
    creates = [asyncio.ensure_future(place.host.client.create(s, actor=ACTOR)) for s in specs]
    await asyncio.wait(creates, return_when=asyncio.FIRST_COMPLETED)
    place.host.kill()
    await asyncio.gather(*creates, return_exceptions=True)
    await asyncio.to_thread(place.on_machine, "start")
    known = set(await place.host.client.sandboxes())

    def ours() -> set[str]:
        rows = json.loads(on_machine(place.world, "ip", "-j", "link", "show"))
        names = {str(row["ifname"]): str(row.get("ifalias", "")).split(" ")[0] for row in rows}
        return {alias for name, alias in names.items() if name.startswith(prefix)}

    prefix = f"ork{place.host.places.stage.name[-4:]}"
    opened = {spec.sandbox_id for spec in specs if spec.network == "open"}
    await asyncio.to_thread(until, lambda: ours() == known & opened, what="no other is left")
    stray = ("ip", "link", "add", f"{prefix}zzzz", "type", "veth", "peer", "name", "other")
    on_machine(place.world, *stray)
    for sandbox_id in known:
        await place.host.client.terminate(sandbox_id, actor=ACTOR, reason="requested")
    nobodys = place.host.places.slots / "deadbeef"
    nobodys.mkdir()
    await asyncio.to_thread(until, lambda: ours() == set(), seconds=60, what="strays are taken")
    await asyncio.to_thread(until, lambda: not nobodys.exists(), seconds=60, what="all strays")


def test_the_proxy_has_no_rights_and_holds_no_mount_of_its_host(place: Place) -> None:
    stage = str(place.host.places.stage)
    assert stage not in Path(f"/proc/{place.proxy()}/mounts").read_text()
    status = Path(f"/proc/{place.proxy()}/status").read_text()
    assert "Uid:\t64128\t64128\t64128\t64128" in status
    assert "CapEff:\t0000000000000000" in status


@pytest.fixture
def without_rules(
    world: World, templates: Path, redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> Iterator[HostProcess]:
    """A host on a machine that has no nft."""
    with tempfile.TemporaryDirectory(prefix="connections-path-") as folder:
        for program in (*Path("/usr/bin").iterdir(), *Path("/usr/sbin").iterdir()):
            if program.name != "nft" and not Path(folder, program.name).is_symlink():
                Path(folder, program.name).symlink_to(program)
        monkeypatch.setenv("PATH", folder)
        host = HostProcess(templates, redis_url)
        place = Place(world, host, Site(Path(folder)), b"")
        place.on_machine("start")
        yield host
        place.on_machine("close")


async def test_without_packet_rules_no_network_is_open_and_the_others_work(
    without_rules: HostProcess,
) -> None:
    client = without_rules.client
    spec = new_spec(network="restricted")
    await client.create(spec, actor=ACTOR)
    with pytest.raises(HostError) as refused:
        await client.create(new_spec(network="open"), actor=ACTOR)
    assert refused.value.code == "network_unavailable"
    assert await client.sandboxes() == [spec.sandbox_id]


async def test_a_proxy_that_dies_is_replaced_and_its_sandboxes_work_on(place: Place) -> None:
    sandbox = await place.sandbox("restricted", "example.org")
    proxy = place.proxy()
    os.kill(proxy, signal.SIGKILL)
    ask = "curl -sS --retry 20 --retry-all-errors --retry-delay 1 https://www.example.org/page"
    assert "hello from the web" in await sandbox.output(ask)
    assert place.proxy() != proxy
    await sandbox.terminate()
