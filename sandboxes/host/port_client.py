"""The part of the host's client that reaches into sandboxes' ports."""

from __future__ import annotations

import asyncio
import os
import socket

from sandboxes.host import wire
from sandboxes.host.calling import CALL_SECONDS, CONNECT_SECONDS, unreachable, with_actor
from sandboxes.host.client import HostClient
from sandboxes.host.types import HostError
from timeline.events import Actor

_ANSWER_BYTES = 64 * 1024


class PortClient(HostClient):
    """Every method raises ``HostError``."""

    async def ports(self, sandbox_id: str) -> list[int]:
        """Those that are listened on and can be connected to, lowest first."""
        header = (await self._call("ports", {"sandbox_id": sandbox_id})).header
        return [int(port) for port in header["ports"]]

    async def connect(
        self, sandbox_id: str, port: int, *, address: str, actor: Actor
    ) -> socket.socket:
        """A connection to what listens on ``port`` in the sandbox, for somebody at ``address``.

        Codes: not_listening, not_answering, paused, not_running, not_found.
        """
        fields = {"op": "connect_port", "sandbox_id": sandbox_id, "port": port, "address": address}
        request = wire.pack(with_actor(fields, actor))
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as sock:
            try:
                return await self._ask_for_descriptor(sock, request)
            except (OSError, TimeoutError, wire.GarbageError) as error:
                raise unreachable() from error

    async def _ask_for_descriptor(self, sock: socket.socket, request: bytes) -> socket.socket:
        loop = asyncio.get_running_loop()
        async with asyncio.timeout(CONNECT_SECONDS):
            await loop.sock_connect(sock, self.socket_path)
        async with asyncio.timeout(CALL_SECONDS):
            await loop.sock_sendall(sock, request)
            data, fds = await _answer(sock)
        try:
            frame = await _frame(data)
            wire.raise_error(frame.header)
            if not fds:
                raise HostError("internal", "The sandbox host sent no connection.")
            return socket.socket(fileno=fds.pop())
        finally:
            for fd in fds:
                os.close(fd)


async def _answer(sock: socket.socket) -> tuple[bytes, list[int]]:
    """It is one short frame, which the kernel hands over whole with its descriptor."""
    loop, readable = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(sock, readable.set)
    try:
        await readable.wait()
    finally:
        loop.remove_reader(sock)
    flags = socket.MSG_CMSG_CLOEXEC
    data, fds, _, _ = socket.recv_fds(sock, _ANSWER_BYTES, 1, flags)
    return data, fds


async def _frame(data: bytes) -> wire.Frame:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    frame = await wire.read_frame(reader)
    if frame is None:
        raise wire.GarbageError("no answer")
    return frame
