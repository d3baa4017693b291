"""The part of the host's client that carries whole files, piece by piece."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from sandboxes.host import wire
from sandboxes.host.calling import CALL_SECONDS, answer, limited, with_actor
from sandboxes.host.client import HostClient
from sandboxes.host.types import HostError
from timeline.events import Actor

WHOLE: Final = 1 << 62


class Incoming:
    """A file that comes. ``size`` is of all of it, ``modified_at`` in Unix seconds, ``mode`` its
    permission bits."""

    def __init__(self, header: dict[str, Any], reader: asyncio.StreamReader) -> None:
        self.size: int = header["size"]
        self.modified_at: float = header["modified_at"]
        self.mode: int = header["mode"]
        self._reader = reader

    async def next(self) -> bytes:
        """The next piece; empty at the end. Raises ``HostError``."""
        async with limited(CALL_SECONDS):
            frame = await answer(self._reader)
        return frame.payload if frame.header.get("kind") == "data" else b""


class Outgoing:
    """A file that goes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self._answer = asyncio.ensure_future(answer(reader))

    async def put(self, data: bytes) -> None:
        """Waits while the host is behind. Raises ``HostError``, as soon as there is reason."""
        self._writer.write(wire.pack({"kind": "data"}, data))
        draining = asyncio.ensure_future(self._writer.drain())
        async with limited(CALL_SECONDS):
            await asyncio.wait({draining, self._answer}, return_when=asyncio.FIRST_COMPLETED)
        if self._answer.done():
            draining.cancel()
            self._answer.result()
            raise HostError("internal", "The sandbox host ended a file before its end.")
        draining.result()

    async def finish(self) -> int:
        """The file is in its place when this returns; its size."""
        self._writer.write(wire.pack({"kind": "end"}))
        async with limited(CALL_SECONDS):
            frame = await self._answer
        size: int = frame.header["size"]
        return size

    def close(self) -> None:
        """Lets go; what has not been finished is as if it had not begun."""
        self._answer.cancel()
        self._answer.add_done_callback(lambda done: done.cancelled() or done.exception())


class TransferClient(HostClient):
    """Every method raises ``HostError``; busy when a sandbox has as many as it may."""

    @asynccontextmanager
    async def download(
        self, sandbox_id: str, path: str, *, offset: int = 0, length: int = WHOLE, actor: Actor
    ) -> AsyncIterator[Incoming]:
        """A file, or ``length`` bytes of it from ``offset`` on."""
        fields = {"sandbox_id": sandbox_id, "path": path, "offset": offset, "length": length}
        async with self._connection() as (reader, writer):
            header = await _ask(reader, writer, {"op": "download", **fields}, actor)
            yield Incoming(header, reader)

    @asynccontextmanager
    async def upload(
        self, sandbox_id: str, path: str, *, size: int, mode: int = 0o644, actor: Actor
    ) -> AsyncIterator[Outgoing]:
        """A file of exactly ``size`` bytes; left before ``finish`` there is none."""
        fields = {"sandbox_id": sandbox_id, "path": path, "size": size, "mode": mode}
        async with self._connection() as (reader, writer):
            await _ask(reader, writer, {"op": "upload", **fields}, actor)
            going = Outgoing(reader, writer)
            try:
                yield going
            finally:
                going.close()


async def _ask(
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    header: dict[str, Any],
    actor: Actor,
) -> dict[str, Any]:
    async with limited(CALL_SECONDS):
        writer.write(wire.pack(with_actor(header, actor)))
        await writer.drain()
        return (await answer(reader)).header
