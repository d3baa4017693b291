"""The proxy as the host runs it, in a small internet of its own."""

from __future__ import annotations

import asyncio
import itertools
import shutil
import socket
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from sandboxes.host import netns, networks
from sandboxes.host.egress.client import EgressClient
from sandboxes.host.egress.limits import Limits
from sandboxes.host.egress.policy import Policy
from timeline.events import NewEvent

from .world import WAIT, Space, World

_ids = itertools.count(1)


@dataclass
class Sandbox:
    """A namespace with the proxy on its loopback. ``wait`` waits for a matching event."""

    id: str
    space: Space
    proxies: Proxies

    def connect(self) -> socket.socket:
        def work() -> socket.socket:
            return socket.create_connection(("127.0.0.1", networks.PROXY_PORT), WAIT)

        return self.space.inside(work)

    def ask(self, data: bytes) -> bytes:
        """What comes back for raw bytes until the proxy closes."""
        with self.connect() as sock:
            sock.sendall(data)
            return drain(sock)

    def events(self) -> list[NewEvent]:
        return [event for sandbox_id, event in self.proxies.reported if sandbox_id == self.id]

    def wait(self, matches: Callable[[NewEvent], bool]) -> NewEvent:
        async def look() -> NewEvent:
            async with asyncio.timeout(WAIT), self.proxies.news:
                while True:
                    for event in self.events():
                        if matches(event):
                            return event
                    await self.proxies.news.wait()

        return self.proxies.world.run(look(), timeout=WAIT + 5)

    def denied(self, reason: str) -> NewEvent:
        return self.wait(lambda e: e.kind == "network.denied" and e.data["reason"] == reason)

    def allowed(self, reason: str = "ended") -> NewEvent:
        return self.wait(lambda e: e.kind == "network.allowed" and e.data["reason"] == reason)


@dataclass
class Proxies:
    """Makes sandboxes behind one proxy process."""

    world: World
    folder: Path
    limits: Limits
    orphan_seconds: float = 300.0
    reported: list[tuple[str, NewEvent]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.news = asyncio.Condition()
        self.client = self.make()
        self.world.run(self.client.start())

    def make(self) -> EgressClient:
        return EgressClient(
            self.folder,
            report=self._report,
            limits=self.limits,
            orphan_seconds=self.orphan_seconds,
        )

    def sandbox(self, *names: str, policy: Policy | None = None) -> Sandbox:
        sandbox = Sandbox(f"sbx_{next(_ids)}", self.world.space(), self)
        listener = sandbox.space.inside(listening)
        self.world.run(self.client.add(sandbox.id, listener, policy or Policy.of(names)))
        return sandbox

    def end(self) -> None:
        self.world.run(self.client.close(stop=True))
        shutil.rmtree(self.folder, ignore_errors=True)

    def _report(self, sandbox_id: str, event: NewEvent) -> None:
        self.reported.append((sandbox_id, event))
        self.world.loop.create_task(self._announce())

    async def _announce(self) -> None:
        async with self.news:
            self.news.notify_all()


def listening() -> socket.socket:
    netns.raise_loopback()
    return netns.loopback_listener(networks.PROXY_PORT)


def drain(sock: socket.socket) -> bytes:
    """Everything until the other side closes."""
    sock.settimeout(WAIT)
    data = bytearray()
    with suppress(ConnectionError):
        while part := sock.recv(65536):
            data += part
    return bytes(data)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    folder = Path(tempfile.mkdtemp(prefix="egress-world-"))
    world = World(folder)
    yield world
    world.end()
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def proxies_with(world: World) -> Iterator[Callable[[Limits], Proxies]]:
    """Proxies with limits of their own, one process for each."""
    made: dict[Limits, Proxies] = {}

    def make(limits: Limits) -> Proxies:
        if limits not in made:
            made[limits] = Proxies(world, Path(tempfile.mkdtemp(prefix="egress-")), limits)
        return made[limits]

    yield make
    for proxies in made.values():
        proxies.end()


@pytest.fixture
def proxies(proxies_with: Callable[[Limits], Proxies]) -> Proxies:
    return proxies_with(Limits(events_per_second=1000, events_burst=1000))
