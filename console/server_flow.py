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
        waiting = len(self._transport.dataBuffer) - self._transport.offset
        return int(waiting + self._transport._tempDataLen)
