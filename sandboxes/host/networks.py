"""A sandbox's network by its mode. One object per host; the modes' parts are below it.

``off``: a loopback and nothing else. ``restricted``: the same, and on that loopback the egress
proxy, the only way out. ``open``: an interface of its own behind address translation.
"""

from __future__ import annotations

import asyncio
import socket
import subprocess
from collections.abc import Collection
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, get_args

from sandboxes.host import namespaces, netns
from sandboxes.host.agent import callers
from sandboxes.host.egress.client import EgressClient
from sandboxes.host.egress.policy import Policy
from sandboxes.host.nat import Nat

Mode = Literal["off", "restricted", "open"]
MODES: tuple[Mode, ...] = get_args(Mode)

PROXY_PORT = 3128
#: The name of the proxy's socket where the agent forwards a port to it.
HATCH = "egress"
_COMMAND_SECONDS = 10
_NO_PROXY = "localhost,127.0.0.1,::1"


@dataclass(frozen=True, slots=True)
class Attachment:
    """What a sandbox was given. ``address`` is its own in an open network."""

    sandbox_id: str
    mode: Mode
    address: str | None = None


class Networks:
    """Attach after the runtime's ``create`` and before its ``start``; detach before its delete."""

    def __init__(self, *, egress: EgressClient, nat: Nat) -> None:
        self._egress = egress
        self._nat = nat

    async def start(self) -> None:
        """Take over or start what all sandboxes share. Raises ``EgressError``, ``NatError``.

        One that fails leaves the other working.
        """
        try:
            await self._egress.start()
        finally:
            await self._nat.setup()

    async def close(self, *, stop: bool) -> None:
        """Leave it running for the next host, or with ``stop`` take everything down."""
        await self._egress.close(stop=stop)
        if stop:
            await self._nat.teardown()

    def environment(self, mode: Mode) -> dict[str, str]:
        """What goes into the sandbox's environment, under the caller's own."""
        return proxy_environment() if mode == "restricted" else {}

    def resolv_conf(self, mode: Mode) -> str:
        """The sandbox's /etc/resolv.conf. Without a network a lookup fails at once."""
        servers = self._nat.nameservers() if mode == "open" else ["127.0.0.1"]
        return "".join(f"nameserver {server}\n" for server in servers) + "options timeout:2\n"

    async def attach(
        self,
        mode: Mode,
        sandbox_id: str,
        init_pid: int,
        *,
        policy: Policy | None = None,
        door: Door | None = None,
    ) -> Attachment:
        """Set up the namespace of ``init_pid``. Raises ``OSError``, ``EgressError``, ``NatError``.

        ``policy`` is the allowlist of a restricted sandbox; ``door`` its way to the proxy when its
        loopback is not the machine's to listen on. Called again for one that is attached
        (a host that restarted), it applies ``policy`` and leaves the rest.
        """
        if mode == "open":
            link = await self._nat.attach(sandbox_id, init_pid, keep=True)
            return Attachment(sandbox_id, mode, str(link.address))
        if mode == "restricted":
            await self._restrict(sandbox_id, door or Loopback(init_pid), policy or Policy())
        elif door is None:
            space = netns.of_process(init_pid)
            await asyncio.to_thread(namespaces.inside, space, netns.raise_loopback)
        return Attachment(sandbox_id, mode)

    async def update(self, sandbox_id: str, policy: Policy) -> None:
        """Another allowlist for a restricted sandbox. Raises ``KeyError`` if it is not one."""
        await self._egress.update(sandbox_id, policy)

    async def cut(self, mode: Mode, init_pid: int) -> None:
        """Break what was connected through the way out that ``init_pid``'s namespace had before.

        Nobody at the other end knows of it, so that who waits for an answer would wait for ever.
        """
        left = f"dport = {PROXY_PORT}" if mode == "restricted" else "not dst 127.0.0.0/8"
        command = ["ss", "--no-header", "--tcp", "--ipv4", "--kill", *left.split()]
        space = netns.of_process(init_pid)
        await asyncio.to_thread(namespaces.inside, space, partial(_run, command))

    async def detach(self, sandbox_id: str) -> None:
        """Take it all away; every connection has been reported on return. Idempotent."""
        await self._egress.remove(sandbox_id)
        await self._nat.detach(sandbox_id)

    async def sweep(self, known: Collection[str]) -> list[str]:
        """Take away what belongs to no ``known`` sandbox; the ids it belonged to."""
        strays = [sandbox_id for sandbox_id in self._egress.serving() if sandbox_id not in known]
        for sandbox_id in strays:
            await self._egress.remove(sandbox_id)
        return strays + await self._nat.sweep(known)

    async def _restrict(self, sandbox_id: str, door: Door, policy: Policy) -> None:
        if sandbox_id in self._egress.serving():
            await self._egress.update(sandbox_id, policy)
            return
        await self._egress.add(sandbox_id, await asyncio.to_thread(door.listen), policy)


def proxy_environment() -> dict[str, str]:
    """The variables by which programs find the proxy, in both cases: each reads its own."""
    address = f"http://127.0.0.1:{PROXY_PORT}"
    values = {"HTTP_PROXY": address, "HTTPS_PROXY": address, "NO_PROXY": _NO_PROXY}
    both = {**values, **{name.lower(): value for name, value in values.items()}}
    return {**both, "NODE_USE_ENV_PROXY": "1"}


class Door(Protocol):
    """Where the proxy listens for one sandbox."""

    def listen(self) -> socket.socket:
        """Blocks. Raises ``OSError``."""


@dataclass(frozen=True, slots=True)
class Loopback:
    """The loopback of the network namespace of a process."""

    pid: int

    def listen(self) -> socket.socket:
        return namespaces.inside(netns.of_process(self.pid), _listener)


@dataclass(frozen=True, slots=True)
class Hatch:
    """A socket in the folder that a gVisor sandbox's agent can call, and nobody else."""

    folder: Path
    owner: int

    def listen(self) -> socket.socket:
        return callers.listener(self.folder / HATCH, owner=self.owner)


def _listener() -> socket.socket:
    netns.raise_loopback()
    return netns.loopback_listener(PROXY_PORT)


def _run(command: list[str]) -> None:
    subprocess.run(command, check=False, capture_output=True, timeout=_COMMAND_SECONDS)
