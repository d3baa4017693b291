"""The part of the host's client that is about terminals."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import orjson

from sandboxes.host import wire
from sandboxes.host.calling import answer, unreachable, with_actor
from sandboxes.host.client import HostClient
from sandboxes.host.terminals.types import Size, TerminalInfo, TerminalRequest, Visitor
from timeline.events import Actor


class Attendance:
    """One watcher's connection to a terminal. Every method raises ``HostError``."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def next(self) -> wire.Frame:
        """What happens next. ``kind`` in the header says what it is.

        ``screen`` (reset; ``skipped`` bytes were left out) and ``output`` carry bytes to show;
        ``size``, ``people``, ``typed`` (bytes so far) and ``closed`` say something; ``refused``
        gives keys back.
        """
        try:
            return await answer(self._reader)
        except (ConnectionError, wire.GarbageError) as error:
            raise unreachable() from error

    async def _say(self, header: Mapping[str, Any], payload: bytes = b"") -> None:
        try:
            self._writer.write(wire.pack(header, payload))
            await self._writer.drain()
        except ConnectionError as error:
            raise unreachable() from error

    async def type(self, data: bytes) -> None:
        """Keys. At most ``TYPED_WINDOW`` bytes may wait for their ``typed``."""
        await self._say({"kind": "type"}, data)

    async def type_from(self, count: int) -> None:
        """The next key is this byte of all that the visitor's page ever typed; see ``Visitor``."""
        await self._say({"kind": "from", "bytes": count})

    async def resize(self, size: Size) -> None:
        await self._say({"kind": "resize", "rows": size.rows, "columns": size.columns})

    async def acknowledge(self, count: int) -> None:
        """So many bytes of ``screen`` and ``output`` have been shown in all."""
        await self._say({"kind": "ack", "bytes": count})

    async def take_over(self) -> None:
        """Drive from now on."""
        await self._say({"kind": "take"})


class TerminalClient(HostClient):
    """Every method raises ``HostError``; for an id that is not there with no_such_terminal."""

    async def terminal_open(
        self, sandbox_id: str, request: TerminalRequest, *, actor: Actor
    ) -> TerminalInfo:
        """Starts a shell on a terminal of its own."""
        fields = {
            "sandbox_id": sandbox_id,
            "terminal_id": request.terminal_id,
            "rows": request.size.rows,
            "columns": request.size.columns,
            "cwd": request.cwd,
        }
        frame = await self._call("terminal_open", fields, actor=actor)
        return TerminalInfo.from_json(orjson.loads(frame.payload))

    async def terminal_list(self, sandbox_id: str) -> list[TerminalInfo]:
        """All that are open or recorded, also of a sandbox that has ended."""
        frame = await self._call("terminal_list", {"sandbox_id": sandbox_id})
        return [TerminalInfo.from_json(row) for row in orjson.loads(frame.payload)]

    async def terminal_close(self, sandbox_id: str, terminal_id: str, *, actor: Actor) -> None:
        """Hangs up; returns when it is over. One that is over already is fine."""
        fields = {"sandbox_id": sandbox_id, "terminal_id": terminal_id}
        await self._call("terminal_close", fields, actor=actor)

    async def terminal_recording(
        self, sandbox_id: str, terminal_id: str, *, offset: int
    ) -> tuple[bytes, int]:
        """At most 1 MiB of a recording from ``offset`` on, and how many bytes there are now."""
        fields = {"sandbox_id": sandbox_id, "terminal_id": terminal_id, "offset": offset}
        frame = await self._call("terminal_recording", fields)
        return frame.payload, int(frame.header["size"])

    @asynccontextmanager
    async def terminal_attend(
        self, sandbox_id: str, terminal_id: str, visitor: Visitor
    ) -> AsyncIterator[Attendance]:
        """Watch a terminal, and drive it when that is allowed."""
        header = {
            "op": "terminal_attend",
            "sandbox_id": sandbox_id,
            "terminal_id": terminal_id,
            "drives": visitor.drives,
            "seat": visitor.seat,
            "page": visitor.page,
        }
        async with self._connection() as (reader, writer):
            writer.write(wire.pack(with_actor(header, visitor.actor)))
            await writer.drain()
            yield Attendance(reader, writer)
