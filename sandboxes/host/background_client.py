"""The part of the host's client that is about background commands."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import orjson

from sandboxes.host import wire
from sandboxes.host.calling import answer, exec_header, with_actor
from sandboxes.host.client import HostClient
from sandboxes.host.ledger import BackgroundCommand, Slice
from sandboxes.host.types import ExecEvent, ExecRequest, Exited
from timeline.events import Actor


class BackgroundClient(HostClient):
    """Every method raises ``HostError``; for an id that is not listed with no_such_command."""

    async def background_start(
        self, sandbox_id: str, request: ExecRequest, *, actor: Actor
    ) -> BackgroundCommand:
        """Starts a command that nobody waits for."""
        header, payload = exec_header("background_start", sandbox_id, request)
        op = header.pop("op")
        frame = await self._call(op, header, payload=payload, actor=actor)
        return BackgroundCommand(**orjson.loads(frame.payload))

    async def background_list(self, sandbox_id: str) -> list[BackgroundCommand]:
        """Every one that is listed, in the order in which they were started."""
        frame = await self._call("background_list", {"sandbox_id": sandbox_id})
        return [BackgroundCommand(**row) for row in orjson.loads(frame.payload)]

    async def background_find(self, sandbox_id: str, command_id: str) -> BackgroundCommand:
        fields = {"sandbox_id": sandbox_id, "command_id": command_id}
        frame = await self._call("background_find", fields)
        return BackgroundCommand(**orjson.loads(frame.payload))

    async def background_kill(self, sandbox_id: str, command_id: str, *, actor: Actor) -> None:
        """Returns when it is over; one that is over already is fine."""
        fields = {"sandbox_id": sandbox_id, "command_id": command_id}
        await self._call("background_kill", fields, actor=actor)

    async def background_read(self, sandbox_id: str, command_id: str, *, offset: int) -> Slice:
        """At most 1 MiB of its output from ``offset`` on."""
        fields = {"sandbox_id": sandbox_id, "command_id": command_id, "offset": offset}
        frame = await self._call("background_read", fields)
        return Slice(frame.payload, frame.header["size"], frame.header["is_over"])

    async def background_follow(
        self, sandbox_id: str, command_id: str, *, offset: int
    ) -> AsyncGenerator[ExecEvent, None]:
        """``Started``, chunks from ``offset`` on as they are written, ``Exited``."""
        header: dict[str, Any] = {"op": "background_follow", "sandbox_id": sandbox_id}
        header |= {"command_id": command_id, "offset": offset}
        async with self._connection() as (reader, writer):
            writer.write(wire.pack(with_actor(header, None)))
            await writer.drain()
            while True:
                event = wire.exec_event(await answer(reader))
                yield event
                if isinstance(event, Exited):
                    return
