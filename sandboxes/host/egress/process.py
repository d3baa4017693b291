"""The proxy's side of the control socket: do what the host says, tell it what happens.

The proxy outlives its host for a while. Records wait until a host says that it has written them
down; the next host takes over the listeners with everything that is open through them.
"""

from __future__ import annotations

import asyncio
import os
import secrets
import socket
import struct
from collections import deque
from contextlib import suppress

from sandboxes.host.egress.control import PROTOCOL, Control, Message
from sandboxes.host.egress.limits import Limits
from sandboxes.host.egress.policy import Policy
from sandboxes.host.egress.proxy import Proxy

#: Records kept for a host that is away; more than these are counted and lost.
_RECORDS = 20_000


class Process:
    """Runs until told to stop, or until no host has come for ``orphan_seconds``."""

    def __init__(self, listener: socket.socket, *, limits: Limits, orphan_seconds: float) -> None:
        listener.setblocking(False)
        self._listener = listener
        self._orphan_seconds = orphan_seconds
        self._proxy = Proxy(limits, self._tell)
        self._listeners: dict[str, socket.socket] = {}
        self._policies: dict[str, Policy] = {}
        self._records: deque[Message] = deque()
        self._run = secrets.token_hex(4)
        self._count = 0
        self._lost = 0
        self._control: Control | None = None
        self._orders: asyncio.Queue[tuple[Control, Message, list[int]]] = asyncio.Queue()
        self._stop = asyncio.Event()
        self._hosted = asyncio.Event()

    async def run(self) -> None:
        """Serve."""
        loop = asyncio.get_running_loop()
        loop.add_reader(self._listener.fileno(), self._accept)
        tasks = [
            asyncio.ensure_future(work())
            for work in (self._obey, self._proxy.watch, self._orphaned, self._stop.wait)
        ]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            loop.remove_reader(self._listener.fileno())
            for task in tasks:
                task.cancel()
            await self._remove_all()

    def _accept(self) -> None:
        """A host came; it takes the place of one before it, which must be dead or leaving."""
        try:
            sock, _ = self._listener.accept()
        except BlockingIOError:
            return
        if not _trusted(sock):
            sock.close()
            return
        if self._control is not None:
            self._control.close()
        control = Control(
            sock,
            on_message=lambda message, fds: self._orders.put_nowait((control, message, fds)),
            on_close=lambda: self._host_left(control),
        )
        self._control = control
        self._hosted.set()

    def _host_left(self, control: Control) -> None:
        if self._control is control:
            self._control = None
            self._hosted.clear()

    async def _orphaned(self) -> None:
        while True:
            try:
                async with asyncio.timeout(self._orphan_seconds):
                    await self._hosted.wait()
            except TimeoutError:
                return
            await asyncio.sleep(1)

    async def _obey(self) -> None:
        while True:
            control, message, fds = await self._orders.get()
            try:
                answer = await self._do(control, message, fds)
            except (KeyError, TypeError, ValueError, OSError) as error:
                answer = {"error": f"{type(error).__name__}: {error}"}
            finally:
                for fd in fds:
                    os.close(fd)
            if "n" in message:
                with suppress(ConnectionError):
                    control.send({"op": "answer", "n": message["n"], **answer})

    async def _do(self, control: Control, message: Message, fds: list[int]) -> Message:
        match message["op"]:
            case "hello":
                return self._hello(control)
            case "add":
                listener = socket.socket(fileno=os.dup(fds[0]))
                await self._add(message["sandbox_id"], listener, message["rules"])
            case "update":
                policy = Policy.from_json(message["rules"])
                self._proxy.update(message["sandbox_id"], policy)
                self._policies[message["sandbox_id"]] = policy
            case "remove":
                await self._remove(message["sandbox_id"])
            case "written":
                self._written(int(message["record"]))
            case "stop":
                await self._remove_all()
                self._stop.set()
            case other:
                raise ValueError(f"unknown order {other}")
        return {}

    def _hello(self, control: Control) -> Message:
        """Everything a new host must know: listeners, open connections, unwritten records."""
        for sandbox_id, listener in self._listeners.items():
            rules = self._policies[sandbox_id].to_json()
            have = {"op": "have", "sandbox_id": sandbox_id, "rules": rules}
            control.send(have, [listener.fileno()])
        for gate in self._proxy.gates.values():
            for connection in gate.connections:
                if connection.upstream is not None:
                    control.send(connection.described())
        for record in self._records:
            control.send(record)
        return {"protocol": PROTOCOL}

    async def _add(self, sandbox_id: str, listener: socket.socket, rules: list[Message]) -> None:
        try:
            policy = Policy.from_json(rules)
            await self._remove(sandbox_id)
            await self._proxy.add(sandbox_id, listener.dup(), policy)
        except BaseException:
            listener.close()
            raise
        self._listeners[sandbox_id], self._policies[sandbox_id] = listener, policy

    async def _remove(self, sandbox_id: str) -> None:
        await self._proxy.remove(sandbox_id)
        listener = self._listeners.pop(sandbox_id, None)
        self._policies.pop(sandbox_id, None)
        if listener is not None:
            listener.close()

    async def _remove_all(self) -> None:
        for sandbox_id in list(self._listeners):
            await self._remove(sandbox_id)

    def _tell(self, record: Message) -> None:
        if len(self._records) >= _RECORDS:
            self._lost += 1
            return
        self._count += 1
        record = {**record, "run": self._run, "record": self._count, "lost": self._lost}
        self._lost = 0
        self._records.append(record)
        if self._control is not None:
            with suppress(ConnectionError):
                self._control.send(record)

    def _written(self, record: int) -> None:
        while self._records and self._records[0]["record"] <= record:
            self._records.popleft()


def _trusted(sock: socket.socket) -> bool:
    """Whether root or this process's own user is at the other end."""
    size = struct.calcsize("3i")
    _, uid, _ = struct.unpack("3i", sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, size))
    return uid in {0, os.getuid()}
