"""One call to the host: a connection, a frame there, frames back. Every part of the client uses it.

Plain asyncio, no Django.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from typing import Any

from sandboxes.host import wire
from sandboxes.host.types import ExecRequest, HostError
from timeline.events import Actor

CONNECT_SECONDS = 5.0
CALL_SECONDS = 60.0


class Caller:
    """Calls one host over its unix socket. Every method raises ``HostError``."""

    def __init__(self, socket_path: str) -> None:
        self.socket_path = socket_path

    async def _call(
        self,
        op: str,
        fields: Mapping[str, Any] | None = None,
        *,
        payload: bytes = b"",
        actor: Actor | None = None,
    ) -> wire.Frame:
        header = with_actor({"op": op, **(fields or {})}, actor)
        async with self._connection() as (reader, writer), limited(CALL_SECONDS):
            writer.write(wire.pack(header, payload))
            await writer.drain()
            return await answer(reader)

    @asynccontextmanager
    async def _connection(
        self,
    ) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                reader, writer = await asyncio.open_unix_connection(self.socket_path)
        except (OSError, TimeoutError) as error:
            raise unreachable() from error
        try:
            yield reader, writer
        except (ConnectionError, wire.GarbageError) as error:
            raise unreachable() from error
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


def unreachable() -> HostError:
    """What is wrong when nothing, or nothing in time, or nonsense comes back."""
    return HostError(
        "host_unreachable", "The sandbox host does not answer; try again in a few seconds."
    )


@asynccontextmanager
async def limited(seconds: float) -> AsyncIterator[None]:
    """A host that takes longer is as good as none."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError as error:
        raise unreachable() from error


async def answer(reader: asyncio.StreamReader) -> wire.Frame:
    """The next frame. Raises the ``HostError`` that it holds."""
    frame = await wire.read_frame(reader)
    if frame is None:
        raise unreachable()
    wire.raise_error(frame.header)
    return frame


async def long_answer(reader: asyncio.StreamReader) -> tuple[dict[str, Any], bytearray]:
    """The same, as ``wire.read_long_frame`` has it."""
    frame = await wire.read_long_frame(reader)
    if frame is None:
        raise unreachable()
    wire.raise_error(frame[0])
    return frame


def exec_header(op: str, sandbox_id: str, request: ExecRequest) -> tuple[dict[str, Any], bytes]:
    """The command travels as payload: a megabyte of it needs no escaping there."""
    fields = asdict(request)
    command = fields.pop("command")
    try:
        payload = command.encode()
    except UnicodeEncodeError as error:
        raise HostError("invalid", "The command holds characters that are not Unicode.") from error
    return {"op": op, "sandbox_id": sandbox_id, "request": fields}, payload


def with_actor(header: dict[str, Any], actor: Actor | None) -> dict[str, Any]:
    """``header``, saying for whom the call is."""
    return header if actor is None else {**header, "actor": actor.to_json()}
