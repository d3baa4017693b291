"""The proxy itself: one gate per sandbox, all sharing the process and its limits."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from dataclasses import dataclass, field

from sandboxes.host.egress.channel import Channel
from sandboxes.host.egress.dial import Dialler
from sandboxes.host.egress.limits import Limits
from sandboxes.host.egress.policy import Policy
from sandboxes.host.egress.records import Closings, Connection, Denials, Tell
from sandboxes.host.egress.request import Target
from sandboxes.host.egress.session import Session, answer

#: Clients taken in one go before others have their turn, and those who may wait for theirs.
_ACCEPTS, _BACKLOG = 64, 2048
_SWEEPS_PER_IDLE = 8
_LONGEST_SWEEP_SECONDS = 15.0
_FULL = "This sandbox has too many connections open through the proxy. Close some and try again."
_FULL_ANSWER = answer(503, _FULL, reason="too_many_connections")


class Gate:
    """One sandbox's listener with its allowlist and whatever is open through it."""

    def __init__(self, sandbox_id: str, policy: Policy, *, proxy: Proxy) -> None:
        self.sandbox_id = sandbox_id
        self.policy = policy
        self.limits = proxy.limits
        self.denials = Denials(sandbox_id, tell=proxy.tell, limits=proxy.limits)
        self.closings = Closings(sandbox_id, tell=proxy.tell, limits=proxy.limits)
        self.connections: set[Connection] = set()
        self.tasks: set[asyncio.Task[None]] = set()
        self._proxy = proxy
        self._resolving = asyncio.Semaphore(proxy.limits.resolving_per_sandbox)
        self._server: asyncio.Server | None = None

    async def open(self, listener: socket.socket) -> None:
        """Accept on ``listener`` from now on; it is closed with the gate."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(
            lambda: _Client(self), sock=listener, backlog=_ACCEPTS
        )
        listener.listen(_BACKLOG)

    def admit(self, client: Channel) -> None:
        """A client came. Runs inside the loop's callback: it must not wait."""
        if not self.limits.admits(mine=len(self.tasks), everyone=self._proxy.clients()):
            self.denials.add("too_many_connections", _FULL)
            client.transport.write(_FULL_ANSWER)
            client.transport.close()
            return
        task = asyncio.ensure_future(Session(client, self).run())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def dial(self, target: Target) -> tuple[Channel, str]:
        """Raises ``DialError``."""
        return await self._proxy.dialler.dial(target.host, target.port, resolving=self._resolving)

    def opening(self, target: Target, client: Channel) -> Connection:
        """A connection that was allowed and is being made."""
        connection = Connection(self.sandbox_id, target, self._proxy.tell, client)
        self.connections.add(connection)
        return connection

    def forget(self, connection: Connection) -> None:
        """It never stood."""
        self.connections.discard(connection)

    def closed(self, connection: Connection) -> None:
        """It is over."""
        self.connections.discard(connection)
        self.closings.add(connection)

    def update(self, policy: Policy) -> None:
        """Judge by ``policy`` from now on, what is already open included."""
        self.policy = policy
        for connection in list(self.connections):
            target = connection.target
            if not policy.judge(host=target.host, port=target.port, scheme=target.scheme).allowed:
                connection.cut("no_longer_allowed")

    def cut_idle(self, before: float) -> None:
        """End what has been silent since ``before``."""
        for connection in list(self.connections):
            if connection.idle_since() < before:
                connection.cut("idle_timeout")

    async def close(self) -> None:
        """Stop listening and end everything; each connection is told before this returns."""
        if self._server is not None:
            self._server.close()
        for connection in list(self.connections):
            connection.cut("removed")
        tasks = list(self.tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self.denials.flush()
        self.closings.flush()


@dataclass(slots=True)
class Proxy:
    """All gates. ``tell`` receives a record for every connection, see ``records``."""

    limits: Limits
    tell: Tell
    gates: dict[str, Gate] = field(default_factory=dict)
    dialler: Dialler = field(init=False)

    def __post_init__(self) -> None:
        self.dialler = Dialler(self.limits)

    async def add(self, sandbox_id: str, listener: socket.socket, policy: Policy) -> None:
        """Serve a sandbox. One that is already served gets the new listener and allowlist."""
        await self.remove(sandbox_id)
        gate = Gate(sandbox_id, policy, proxy=self)
        await gate.open(listener)
        self.gates[sandbox_id] = gate

    def update(self, sandbox_id: str, policy: Policy) -> None:
        """Raises ``KeyError`` for a sandbox that is not served."""
        self.gates[sandbox_id].update(policy)

    async def remove(self, sandbox_id: str) -> None:
        """Idempotent."""
        gate = self.gates.pop(sandbox_id, None)
        if gate is not None:
            await gate.close()

    def clients(self) -> int:
        """How many clients are connected, of all sandboxes."""
        return sum(len(gate.tasks) for gate in self.gates.values())

    async def watch(self) -> None:
        """Cut idle connections, until cancelled."""
        loop = asyncio.get_running_loop()
        pause = min(self.limits.idle_seconds / _SWEEPS_PER_IDLE, _LONGEST_SWEEP_SECONDS)
        while True:
            await asyncio.sleep(pause)
            for gate in list(self.gates.values()):
                gate.cut_idle(loop.time() - self.limits.idle_seconds)


class _Client(Channel):
    """A channel that reports to its gate once it is connected."""

    def __init__(self, gate: Gate) -> None:
        super().__init__()
        self._gate = gate

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        with suppress(ConnectionError):
            self._gate.admit(self)
