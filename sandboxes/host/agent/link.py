"""One connection to a sandbox's agent."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from sandboxes.host.agent import callers, frames, gate
from sandboxes.host.agent.frames import Answer, Ask, lost
from sandboxes.host.agent.refusals import refusal

#: Seconds for an answer to a question that the agent answers at once.
ANSWER_SECONDS: Final = 30.0
CONNECT_SECONDS: Final = 5.0


class Link:
    """Sends questions, receives answers. Whatever breaks the protocol raises agent_lost."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, path: Path) -> Link:
        """One that may outlast an answer. It waits while the agent is not to be asked anything."""
        await gate.passed(path)
        return await cls.connect(path)

    @classmethod
    async def connect(cls, path: Path) -> Link:
        """Connects, waiting a moment while the agent's backlog is full, or takes a call of its."""
        try:
            sock = await plain(path)
        except (OSError, TimeoutError) as error:
            raise lost("it does not answer") from error
        try:
            reader, writer = await asyncio.open_unix_connection(sock=sock, limit=128 * 1024)
        except BaseException:
            sock.close()
            raise
        return cls(reader, writer)

    def tell(self, ask: Ask, payload: bytes = b"") -> None:
        """Queues a frame; for those that are never large."""
        if not self._writer.is_closing():
            self._writer.write(frames.HEAD.pack(len(payload), ask) + payload)

    async def send(self, ask: Ask, payload: bytes = b"") -> None:
        """Sends a frame, and waits while the agent is not reading."""
        self.tell(ask, payload)
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                await self._writer.drain()
        except (OSError, TimeoutError) as error:
            raise lost("it stopped reading") from error

    async def receive(self) -> tuple[Answer, bytes]:
        """The next answer, however long it takes."""
        try:
            head = await self._reader.readexactly(frames.HEAD.size)
            size, kind = frames.HEAD.unpack(head)
            if size > frames.ANSWER_LIMIT:
                raise lost("a frame too large")
            payload = await self._reader.readexactly(size) if size else b""
            return Answer(kind), payload
        except (OSError, EOFError) as error:
            raise lost("it hung up") from error
        except ValueError as error:
            raise lost("an unknown frame") from error

    async def answer(self, *, subject: str) -> tuple[Answer, bytes]:
        """The next answer, soon; an ERROR is raised as the ``HostError`` it means."""
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                kind, payload = await self.receive()
        except TimeoutError as error:
            raise lost("it does not answer") from error
        if kind is Answer.ERROR:
            raise refusal(payload, subject=subject)
        return kind, payload

    async def expect(self, wanted: Answer, *, subject: str) -> bytes:
        """The payload of the next answer, which has to be of this kind."""
        kind, payload = await self.answer(subject=subject)
        if kind is not wanted:
            raise lost("an answer to another question")
        return payload

    def acknowledge(self, offset: int) -> None:
        """All output before ``offset`` is safe; the agent may forget it."""
        self.tell(Ask.ACK, struct.pack("<Q", offset))

    def close(self) -> None:
        self._writer.close()


async def plain(path: Path) -> socket.socket:
    """What a link is made of. Raises ``OSError``, ``TimeoutError``."""
    return await (_called(path) if callers.calls(path) else _connected(path))


async def _called(path: Path) -> socket.socket:
    """One that the agent has made; it makes another when the first word comes."""
    async with asyncio.timeout(CONNECT_SECONDS):
        while True:
            try:
                sock = callers.accept(path)
            except BlockingIOError:
                await asyncio.sleep(0.002)
            else:
                sock.setblocking(False)
                return sock


async def _connected(path: Path) -> socket.socket:
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        await _connect(sock, path)
    except BaseException:
        sock.close()
        raise
    return sock


async def _connect(sock: socket.socket, path: Path) -> None:
    # asyncio's own connect mistakes a full backlog (EAGAIN) for a connection under way.
    async with asyncio.timeout(CONNECT_SECONDS):
        while True:
            try:
                sock.connect(str(path))
            except BlockingIOError:
                await asyncio.sleep(0.002)
            else:
                return


@asynccontextmanager
async def linked(path: Path) -> AsyncIterator[Link]:
    """A link for one question, which the agent answers before it hangs up on everybody."""
    await gate.passed(path)
    with gate.inside(path):
        link = await Link.connect(path)
        try:
            yield link
        finally:
            link.close()
