"""A connection to a port of the sandbox's loopback, for those that only their agent reaches."""

from __future__ import annotations

import asyncio
import errno
import socket
import struct
from pathlib import Path

from sandboxes.host.agent import frames, gate
from sandboxes.host.agent.frames import Answer, Ask, Fields
from sandboxes.host.agent.link import plain


async def reach(path: Path, port: int) -> socket.socket:
    """What the agent hands over once the port has taken the connection.

    Raises ``OSError``: ``ConnectionRefusedError`` when nothing listens. Wait no longer than you
    will: the agent lets go when this does.
    """
    await gate.passed(path)
    with gate.inside(path):
        sock = await plain(path)
        try:
            await _ask(sock, port)
        except BaseException:
            sock.close()
            raise
    return sock


async def _ask(sock: socket.socket, port: int) -> None:
    """Reads not one byte more than the answer: the port may speak first."""
    loop = asyncio.get_running_loop()
    frame = struct.pack("<H", port)
    await loop.sock_sendall(sock, frames.HEAD.pack(len(frame), Ask.CONNECT) + frame)
    size, kind = frames.HEAD.unpack(await _exactly(sock, frames.HEAD.size))
    if size > frames.HEAD.size:
        raise ConnectionAbortedError("the agent's answer is too large")
    payload = await _exactly(sock, size)
    if kind == Answer.ERROR and len(payload) == frames.HEAD.size:
        fields = Fields(payload)
        fields.u8()
        number = fields.u32()
        raise OSError(number if 0 < number < 4096 else errno.EIO, "the agent was refused")
    if kind != Answer.OK:
        raise ConnectionAbortedError("an answer to another question")


async def _exactly(sock: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = await asyncio.get_running_loop().sock_recv(sock, size - len(data))
        if not more:
            raise ConnectionAbortedError("the agent hung up")
        data += more
    return data
