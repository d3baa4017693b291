"""Back-pressure of one connection: Twisted's push producer turned into something to await."""

from __future__ import annotations

import asyncio
from typing import Any

from twisted.internet.interfaces import IPushProducer
from zope.interface import implementer

# How much may wait in the process for one peer before its application waits instead.
BUFFER_BYTES = 256 * 1024
# A peer that takes not one byte for so long is gone, whatever its TCP says.
STALLED_SECONDS = 60.0


@implementer(IPushProducer)
class Flow:
    """Open while the transport's buffer has room. Registered with the transport as a producer."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._open = asyncio.Event()
        self._open.set()
        transport.bufferSize = BUFFER_BYTES

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's names
        self._open.clear()

    def resumeProducing(self) -> None:  # noqa: N802
        self._open.set()

    def stopProducing(self) -> None:  # noqa: N802
        self._open.set()

    @property
    def is_open(self) -> bool:
        """Whether the buffer has room, as far as is known."""
        return self._open.is_set()

    async def drained(self) -> None:
        """Returns when there is room again or the peer is gone; drops a peer that stands still."""
        while not self._open.is_set():
            before = self._unsent()
            try:
                await asyncio.wait_for(self._open.wait(), STALLED_SECONDS)
            except TimeoutError:
                if self._unsent() >= before:
                    self.stopProducing()
                    self._transport.abortConnection()

    def _unsent(self) -> int:
        return unsent(self._transport)


def unsent(transport: Any) -> int:
    """Bytes that wait in the process for the peer to take them."""
    return int(len(transport.dataBuffer) - transport.offset + transport._tempDataLen)


def write_at_once(transport: Any, data: bytes) -> None:
    """Like ``transport.write``, but without a turn of the loop and two changes of what is polled:
    a socket behind which nothing waits nearly always takes what it is given."""
    sent = 0
    if transport.connected and not transport.disconnecting and not unsent(transport):
        count = transport.writeSomeData(data)
        # A connection that is lost is found so by the reactor, in the turn that it keeps for that.
        sent = 0 if isinstance(count, Exception) else int(count)
    if sent < len(data):
        transport.write(data[sent:] if sent else data)
