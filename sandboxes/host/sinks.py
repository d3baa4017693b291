"""Where a command's output goes besides its record: to nobody, into memory, or to a reader."""

from __future__ import annotations

import asyncio
from typing import ClassVar, Final, Protocol

from sandboxes.host.agent.frames import Ended
from sandboxes.host.types import (
    BUFFERED_LIMIT,
    Chunk,
    ExecEvent,
    ExecOutcome,
    Exited,
    HostError,
    Stream,
)

#: Chunks (of at most 32 KiB) that wait for a slow reader before its command has to wait too.
WAITING_CHUNKS: Final = 16
#: What all buffers of a host hold together. Beyond it a stream keeps no more than its share, so
#: that many commands that write at full speed do not use up the machine's memory.
BUFFERED_IN_ALL: Final = 128 * 1024 * 1024
SHARE_BYTES: Final = 256 * 1024


class Sink(Protocol):
    """What a caller wants of a command while it runs."""

    async def put(self, stream: Stream, data: bytes) -> None: ...


class Nobody:
    """For a command whose caller is gone."""

    async def put(self, stream: Stream, data: bytes) -> None:
        return


class Buffer:
    """Keeps the beginning of each stream and counts the rest. Close it when it has been read."""

    #: Bytes in the open buffers of this process.
    held: ClassVar[int] = 0

    def __init__(self) -> None:
        self._kept: dict[Stream, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
        self._dropped: dict[Stream, int] = {"stdout": 0, "stderr": 0}

    async def put(self, stream: Stream, data: bytes) -> None:
        """Once a byte was dropped none is kept: what is there is the beginning, without a gap."""
        kept = self._kept[stream]
        limit = BUFFERED_LIMIT if Buffer.held < BUFFERED_IN_ALL else SHARE_BYTES
        part = b"" if self._dropped[stream] else data[: max(0, limit - len(kept))]
        kept.extend(part)
        Buffer.held += len(part)
        self._dropped[stream] += len(data) - len(part)

    def close(self) -> None:
        """Gives its memory back, but for what ``outcome`` handed over. Idempotent."""
        Buffer.held -= sum(map(len, self._kept.values()))
        self._kept = {"stdout": bytearray(), "stderr": bytearray()}

    def outcome(self, ended: Ended) -> ExecOutcome:
        """Hands over what was kept, which is not copied."""
        return ExecOutcome(
            stdout=self._kept["stdout"],
            stderr=self._kept["stderr"],
            stdout_dropped=self._dropped["stdout"],
            stderr_dropped=self._dropped["stderr"],
            exit_code=ended.exit_code,
            signal=ended.signal,
            duration_ms=ended.duration_ms,
            timed_out=ended.timed_out,
        )


class Reader:
    """A bounded queue to one reader. Once the reader has left, nothing waits for it."""

    def __init__(self) -> None:
        self._queue: asyncio.Queue[ExecEvent | HostError] = asyncio.Queue(WAITING_CHUNKS)
        self._left = False
        self._over = False

    async def put(self, stream: Stream, data: bytes) -> None:
        await self._push(Chunk(stream, data))

    async def end(self, ended: Ended | HostError) -> None:
        """Tells the reader how it ended, after all that it has not read yet; the last call."""
        if isinstance(ended, HostError):
            await self._push(ended)
        else:
            exited = Exited(ended.exit_code, ended.signal, ended.duration_ms, ended.timed_out)
            await self._push(exited)
        self._over = True

    def fail(self, error: HostError) -> None:
        """Ends it at once, unless it has been told the end."""
        if not self._over:
            self.leave()
            self._queue.put_nowait(error)

    async def _push(self, item: ExecEvent | HostError) -> None:
        if not self._left:
            await self._queue.put(item)

    async def next(self) -> ExecEvent:
        """The next in order. Raises the ``HostError`` that ended the command, if one did."""
        item = await self._queue.get()
        if isinstance(item, HostError):
            raise item
        return item

    def leave(self) -> None:
        self._left = True
        while not self._queue.empty():
            self._queue.get_nowait()
