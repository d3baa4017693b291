"""One TCP connection with bounded memory in both directions and deadlines on every wait."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress

#: Unread bytes at which the peer is made to wait; at most one read goes beyond.
READ_LIMIT = 64 * 1024
WRITE_LIMIT = 64 * 1024
#: What a refused client may still send while it reads why; beyond, the connection is cut.
_DRAIN_LIMIT = 256 * 1024
_DRAIN_SECONDS = 2.0

#: The loop copies out of it before it reads again, so that one serves all connections.
_scratch = bytearray(READ_LIMIT)


class TooLongError(Exception):
    """More bytes than allowed came before what was waited for."""


class Channel(asyncio.BufferedProtocol):
    """Reads and writes raise ``ConnectionError`` once the connection is broken."""

    def __init__(self) -> None:
        self.pending = bytearray()
        self.received = 0
        self.sent = 0
        self.ended = False
        self.broken = False
        self.touched = 0.0
        self._paused = False
        self._clock = asyncio.get_running_loop().time
        self._lost = asyncio.Event()
        self._transport: asyncio.Transport | None = None
        self._readable = asyncio.Event()
        self._writable = asyncio.Event()
        self._writable.set()

    @property
    def transport(self) -> asyncio.Transport:
        """The open connection."""
        if self._transport is None:
            raise ConnectionResetError("not connected")
        return self._transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Called by the loop."""
        assert isinstance(transport, asyncio.Transport)  # noqa: S101 - tells the type checker
        self._transport = transport
        self.touched = self._clock()
        transport.set_write_buffer_limits(high=WRITE_LIMIT)
        sock = transport.get_extra_info("socket")
        with suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def connection_lost(self, exc: Exception | None) -> None:
        """Called by the loop."""
        self.broken = True
        self._lost.set()
        self._readable.set()
        self._writable.set()

    def get_buffer(self, sizehint: int) -> bytearray:
        """Called by the loop."""
        return _scratch

    def buffer_updated(self, nbytes: int) -> None:
        """Called by the loop."""
        self.pending += memoryview(_scratch)[:nbytes]
        self.received += nbytes
        self.touched = self._clock()
        if len(self.pending) >= READ_LIMIT and not self._paused:
            self._paused = True
            self.transport.pause_reading()
        self._readable.set()

    def eof_received(self) -> bool:
        """Called by the loop. The other direction stays open."""
        self.ended = True
        self._readable.set()
        return True

    def pause_writing(self) -> None:
        """Called by the loop."""
        self._writable.clear()

    def resume_writing(self) -> None:
        """Called by the loop."""
        self._writable.set()

    async def more(self, have: int = 0) -> bool:
        """Wait until more than ``have`` bytes are pending. False when no more will come."""
        while len(self.pending) <= have:
            if self.broken and not self.ended:
                raise ConnectionResetError("the connection was lost")
            if self.ended:
                return False
            self._readable.clear()
            await self._readable.wait()
        return True

    def take(self, limit: int | None = None) -> bytes:
        """Up to ``limit`` pending bytes, all of them by default."""
        data = bytes(self.pending if limit is None else self.pending[:limit])
        del self.pending[: len(data)]
        if self._paused and len(self.pending) < READ_LIMIT and not self.broken:
            self._paused = False
            self.transport.resume_reading()
        return data

    async def line(self, limit: int) -> bytes:
        """A line without its CR LF. Raises ``TooLongError``, ``EOFError``."""
        have = 0
        while (end := self.pending.find(b"\r\n")) < 0:
            if have > limit:
                raise TooLongError
            if not await self.more(have):
                raise EOFError
            have = len(self.pending)
        if end > limit:
            raise TooLongError
        return self.take(end + 2)[:-2]

    async def write(self, data: bytes) -> None:
        """Returns when the peer is not far behind."""
        if self.broken:
            raise ConnectionResetError("the connection was lost")
        self.sent += len(data)
        self.transport.write(data)
        await self._writable.wait()

    def end(self) -> None:
        """Nothing more is written; what is in flight still arrives."""
        if not self.broken:
            with suppress(OSError, RuntimeError):
                self.transport.write_eof()

    def abort(self) -> None:
        """Cut the connection now."""
        if self._transport is not None:
            self._transport.abort()

    async def close(self) -> None:
        """Close once all is written, or after a short while."""
        if self._transport is None:
            return
        self._transport.close()
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                await self._lost.wait()
        except TimeoutError:
            self.abort()

    async def finish(self) -> None:
        """Close so that the last bytes written are read: a reset would throw them away."""
        self.end()
        seen = self.received
        with suppress(TimeoutError, ConnectionError):
            async with asyncio.timeout(_DRAIN_SECONDS):
                while await self.more() and self.received - seen < _DRAIN_LIMIT:
                    self.take()
        self.abort()
