"""Open networks: a pair of interfaces per sandbox, routed and translated, no bridge.

Sandboxes share no link, so there is nothing to spoof or to overhear on one: each has a route of
its own to its own interface. Everything this module knows it reads back from the kernel (the
sandbox's id is its interface's alias), so nothing is lost or doubled when a host restarts.

Names are resolved by the machine's own resolvers: a sandbox asks the gateway, and the kernel
passes those packets on. They may be private; nothing but port 53 of them is reachable. A resolver
on the machine's loopback cannot be passed on to; the ones behind systemd-resolved are found,
otherwise ``nameservers`` must name some.
"""

from __future__ import annotations

import asyncio
import hashlib
import ipaddress
import json
import logging
import subprocess
from collections.abc import Callable, Collection, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any, TypeVar

from sandboxes.host import firewall, namespaces, netns

Result = TypeVar("Result")

log = logging.getLogger(__name__)

_COMMAND_SECONDS = 10.0
#: Candidate subnets; the first that no route of the machine touches is taken.
_CANDIDATES = tuple(IPv4Network(f"10.{number}.0.0/16") for number in range(213, 254))
_RESOLV = (Path("/etc/resolv.conf"), Path("/run/systemd/resolve/resolv.conf"))
_RESOLVERS = 3
#: Characters of an interface's name that the kernel takes.
_NAME_LIMIT = 15
#: Addresses at the start of the subnet that are the gateway's and the resolvers'.
_KEPT_BACK = 16


class NatError(Exception):
    """The network could not be made; the message says which command said what."""


@dataclass(frozen=True, slots=True)
class Link:
    """A sandbox's interface on this side, and its address on the other."""

    sandbox_id: str
    name: str
    address: IPv4Address


class Nat:
    """All open networks of one host. ``tag`` (four letters or digits) keeps two hosts apart."""

    def __init__(
        self,
        *,
        tag: str,
        subnet: IPv4Network | None = None,
        nameservers: Sequence[str] | None = None,
    ) -> None:
        self.table = f"orkestr_{tag}"
        self.prefix = f"ork{tag}"
        self._subnet = subnet
        self._nameservers = nameservers
        self._lock = asyncio.Lock()
        self._last = 0
        self._guarded = False

    @property
    def subnet(self) -> IPv4Network:
        """Raises ``NatError`` before ``setup``."""
        if self._subnet is None:
            raise NatError("Open networks have not been set up.")
        return self._subnet

    async def setup(self) -> None:
        """Rules, forwarding and the subnet. Idempotent; sandboxes that are there keep theirs."""
        links = await self.links()
        if self._subnet is None:
            self._subnet = await _free_subnet(links.values())
        await self._forward()
        await _run("nft", "-f", "-", stdin=self._rules())
        self._guarded = True

    def nameservers(self) -> list[str]:
        """What a sandbox's resolv.conf names. Empty when the machine has nothing usable."""
        return [asked for asked, _ in self._resolvers()]

    async def attach(self, sandbox_id: str, init_pid: int, *, keep: bool = False) -> Link:
        """Give a sandbox its interface, or with ``keep`` find the one it has. Raises ``NatError``.

        Nothing but the agent runs in it yet.
        """
        if not self._guarded:
            raise NatError("The packet rules of open networks are not there.")
        async with self._lock:
            links = await self.links()
            if sandbox_id in links:
                if keep:
                    return links[sandbox_id]
                await self._remove(links[sandbox_id])
            address = self._next_address({link.address for link in links.values()})
            link = Link(sandbox_id, self._name(sandbox_id), address)
            try:
                await self._make(link, init_pid)
            except NatError:
                await self._remove(link)
                raise
        return link

    async def detach(self, sandbox_id: str) -> None:
        """Idempotent. The kernel does it by itself when the sandbox's namespace ends."""
        link = (await self.links()).get(sandbox_id)
        if link is not None:
            await self._remove(link)

    async def links(self) -> dict[str, Link]:
        """Every sandbox with an interface of this host's, by sandbox id."""
        found = {}
        for row in json.loads(await _run("ip", "-j", "link", "show") or "[]"):
            link = self._link(row)
            if link is not None:
                found[link.sandbox_id] = link
        return found

    async def sweep(self, known: Collection[str]) -> list[str]:
        """Take down the interfaces of sandboxes not ``known``; their ids."""
        async with self._lock:  # one that is being made has no sandbox's name yet
            gone = [link for name, link in (await self.links()).items() if name not in known]
            for link in gone:
                await self._remove(link)
        return [link.sandbox_id for link in gone]

    async def teardown(self) -> None:
        """Take down everything of this host's."""
        await self.sweep(())
        with suppress(NatError):
            await _run("nft", "delete", "table", "inet", self.table)

    def _rules(self) -> str:
        return firewall.ruleset(
            table=self.table,
            prefix=self.prefix,
            subnet=self.subnet,
            resolvers=self._resolvers(),
        )

    def _resolvers(self) -> list[tuple[str, str]]:
        servers = _usable(self._nameservers if self._nameservers is not None else _system_servers())
        if not servers:
            log.warning("no resolver that sandboxes could ask; set nameservers for open networks")
        return firewall.asked_resolvers(self.subnet, servers[:_RESOLVERS])

    async def _forward(self) -> None:
        """Answers come in by the machine's way out, which must pass them on.

        Only those interfaces are switched, not the whole machine.
        """
        routes = json.loads(await _run("ip", "-j", "-4", "route", "show", "default") or "[]")
        for name in {str(route["dev"]) for route in routes if "dev" in route}:
            _interface(name, "forwarding", "1")

    async def _make(self, link: Link, init_pid: int) -> None:
        await _run(
            *("ip", "link", "add", link.name, "type", "veth"),
            *("peer", "name", "eth0", "netns", str(init_pid)),
        )
        _prepare(link.name)
        gateway = firewall.gateway(self.subnet)
        alias = f"{link.sandbox_id} {link.address}"
        await _batch(
            f'link set dev {link.name} alias "{alias}"',
            f"addr add {gateway}/32 dev {link.name}",
            f"link set dev {link.name} up",
            f"route replace {link.address}/32 dev {link.name} src {gateway}",
        )
        await _within(init_pid, _address_peer(link.address, gateway))

    async def _remove(self, link: Link) -> None:
        with suppress(NatError):
            await _run("ip", "link", "delete", "dev", link.name)

    def _name(self, sandbox_id: str) -> str:
        """Short enough for the kernel, whatever the id."""
        return (
            self.prefix + hashlib.sha256(sandbox_id.encode()).hexdigest()[: 15 - len(self.prefix)]
        )

    def _link(self, row: dict[str, Any]) -> Link | None:
        """The link of a row of ``ip -j link``, if it is this host's."""
        name = str(row.get("ifname", ""))
        if not name.startswith(self.prefix):
            return None
        sandbox_id, _, address = str(row.get("ifalias", "")).partition(" ")
        try:
            return Link(sandbox_id or name, name, IPv4Address(address))
        except ValueError:  # made, but not yet named when its host died
            return Link(sandbox_id or name, name, IPv4Address(0))

    def _next_address(self, used: set[IPv4Address]) -> IPv4Address:
        """The next after the last one given: a fresh sandbox gets no answers meant for another."""
        first = int(self.subnet.network_address) + _KEPT_BACK
        last = int(self.subnet.broadcast_address)
        start = max(self._last + 1, first)
        for number in (*range(start, last), *range(first, min(start, last))):
            if IPv4Address(number) not in used:
                self._last = number
                return IPv4Address(number)
        raise NatError("Every address of the open network is in use.")


async def _within(pid: int, script: str) -> None:
    """Set up the sandbox's side, in its namespace. IPv6 goes before the interface comes up."""

    def work() -> None:
        netns.raise_loopback()
        netns.disable_ipv6()
        _checked(["ip", "-batch", "-"], script)

    await _in_thread(lambda: namespaces.inside(netns.of_process(pid), work))


def _address_peer(address: IPv4Address, gateway: IPv4Address) -> str:
    return (
        f"addr add {address}/32 dev eth0\n"
        "link set dev eth0 up\n"
        f"route add {gateway}/32 dev eth0 scope link\n"
        f"route add default via {gateway} dev eth0\n"
    )


async def _batch(*lines: str) -> None:
    await _run("ip", "-batch", "-", stdin="\n".join(lines) + "\n")


async def _run(*command: str, stdin: str = "") -> str:
    """Its output. Raises ``NatError``."""
    return await _in_thread(lambda: _checked(list(command), stdin))


async def _in_thread(work: Callable[[], Result]) -> Result:
    try:
        return await asyncio.to_thread(work)
    except OSError as error:
        raise NatError(f"The sandbox's network could not be made: {error}") from error


def _checked(command: list[str], stdin: str) -> str:
    try:
        done = subprocess.run(
            command,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=_COMMAND_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise NatError(f"{command[0]} did not end in time.") from error
    if done.returncode != 0:
        raise NatError(f"{' '.join(command)}: {done.stderr.strip() or done.returncode}")
    return done.stdout


async def _free_subnet(links: Iterable[Link]) -> IPv4Network:
    """The one that present links use, or the first candidate that no route touches."""
    for link in links:
        if int(link.address):
            return IPv4Network(f"{link.address}/16", strict=False)
    routes = json.loads(await _run("ip", "-j", "-4", "route", "show", "table", "all") or "[]")
    used = [IPv4Network(str(row["dst"])) for row in routes if _is_network(str(row["dst"]))]
    for candidate in _CANDIDATES:
        if not any(candidate.overlaps(network) for network in used if network.prefixlen):
            return candidate
    raise NatError("No private subnet is free for open networks; set one.")


def _is_network(text: str) -> bool:
    try:
        IPv4Network(text)
    except ValueError:
        return False
    return True


def _prepare(name: str) -> None:
    """Pass on what the sandbox sends, and keep IPv6 off its interface."""
    _interface(name, "forwarding", "1")
    with suppress(FileNotFoundError):  # a kernel without IPv6
        Path(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6").write_text("1")


def _interface(name: str, key: str, value: str) -> None:
    path = Path(f"/proc/sys/net/ipv4/conf/{name}/{key}")
    try:
        path.write_text(value)
    except OSError as error:
        raise NatError(f"{path} could not be set: {error.strerror}.") from error


def _system_servers() -> list[str]:
    """The resolvers of the first file that names one which is not on the loopback."""
    for path in _RESOLV:
        with suppress(OSError):
            lines = [line.split() for line in path.read_text().splitlines()]
            servers = [words[1] for words in lines if words[:1] == ["nameserver"] and words[1:]]
            if _usable(servers):
                return servers
    return []


def _usable(servers: Iterable[str]) -> list[str]:
    """IPv4, and not on the loopback, where packets of another machine's are never delivered."""
    found = []
    for text in servers:
        with suppress(ValueError):
            address = ipaddress.ip_address(text)
            if address.version == 4 and not address.is_loopback and int(address):
                found.append(str(address))
    return found
