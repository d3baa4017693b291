"""One call on the host's socket: its fields, checked, and the way back to the caller."""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Coroutine, Mapping
from typing import Any

from sandboxes.host import wire
from sandboxes.host.box import check_id
from sandboxes.host.types import ExecRequest, HostError
from timeline.events import SYSTEM, Actor

#: A caller that takes nothing for this long is given up; what it began goes on.
STALLED_SECONDS = 60.0
_MAX_TIMEOUT_SECONDS = 86400 * 7
_ACTORS = {"token", "person", "system", "policy"}


class Call:
    """One request. Every accessor raises ``HostError`` (invalid) for a field that is not so."""

    def __init__(
        self, frame: wire.Frame, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self.header = frame.header
        self.payload = frame.payload
        self.reader = reader
        self.writer = writer

    @property
    def op(self) -> str:
        return self.text("op")

    @property
    def actor(self) -> Actor:
        """Who the caller acts for; the system itself when it does not say."""
        row = self.header.get("actor")
        if row is None:
            return SYSTEM
        if not isinstance(row, dict) or row.get("type") not in _ACTORS:
            raise HostError("invalid", "The actor must be a token, a person, system or policy.")
        return Actor.from_json(row)

    @property
    def sandbox_id(self) -> str:
        """Raises ``HostError`` (not_found) when no sandbox could have such an id."""
        return check_id(self.header.get("sandbox_id"))

    async def while_listened_to(self, sending: Coroutine[Any, Any, None]) -> None:
        """Send until that is over or the caller leaves, who is noticed though nothing is sent."""
        sends = asyncio.ensure_future(sending)
        leaving = asyncio.ensure_future(self.reader.read(1))
        try:
            await asyncio.wait({sends, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if sends.done():
                sends.result()
        finally:
            for task in (sends, leaving):
                task.cancel()
            await asyncio.gather(sends, leaving, return_exceptions=True)

    def text(self, name: str) -> str:
        return _text(self.header, name)

    def texts(self, name: str) -> list[str]:
        value = self.header.get(name)
        if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
            raise _wrong(name, "a list of texts")
        return value

    def flag(self, name: str) -> bool:
        value = self.header.get(name)
        if not isinstance(value, bool):
            raise _wrong(name, "true or false")
        return value

    def number(self, name: str) -> int:
        value = self.header.get(name)
        if not isinstance(value, int) or isinstance(value, bool):
            raise _wrong(name, "a whole number")
        return value

    def exec_request(self) -> ExecRequest:
        """The command itself is the payload."""
        row = self.header.get("request")
        if not isinstance(row, dict):
            raise _wrong("request", "an object")
        try:
            command = self.payload.decode()
        except UnicodeDecodeError as error:
            raise _wrong("command", "UTF-8") from error
        return ExecRequest(
            command_id=_text(row, "command_id"),
            command=command,
            cwd=_text(row, "cwd"),
            env=_environment(row.get("env")),
            timeout_seconds=_seconds(row.get("timeout_seconds")),
            background=row.get("background") is True,
        )

    async def send(self, header: Mapping[str, Any], payload: bytes = b"") -> None:
        await self.write(wire.pack(header, payload))

    def send_descriptor(self, header: Mapping[str, Any], fd: int) -> None:
        """An answer with an open file beside it; nothing was sent before, so that it fits."""
        mine = self.writer.get_extra_info("socket").fileno()
        with socket.socket(fileno=os.dup(mine)) as sock:
            socket.send_fds(sock, [wire.pack(header)], [fd])

    async def write_frame(self, header: Mapping[str, Any], payload: bytes | bytearray) -> None:
        """One frame, however large, of which a piece at a time waits for the caller."""
        await self.write(wire.head(header, len(payload)))
        with memoryview(payload) as whole:
            for start in range(0, len(whole), wire.PIECE_BYTES):
                await self.write(whole[start : start + wire.PIECE_BYTES])

    async def write(self, packed: bytes | memoryview) -> None:
        """Raises ``TimeoutError`` when the caller takes nothing."""
        self.writer.write(packed)
        async with asyncio.timeout(STALLED_SECONDS):
            await self.writer.drain()


def _text(row: Mapping[str, Any], name: str) -> str:
    value = row.get(name)
    if not isinstance(value, str):
        raise _wrong(name, "text")
    if "\0" in value:
        raise _wrong(name, "text without NUL")
    return value


def _environment(value: object) -> dict[str, str]:
    if not isinstance(value, dict):
        raise _wrong("env", "an object")
    for name, text in value.items():
        if not isinstance(text, str) or "\0" in text + name or "=" in name or not name:
            raise _wrong("env", "names and text without NUL")
    return value


def _seconds(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _wrong("timeout_seconds", "a number")
    if not 0 <= value <= _MAX_TIMEOUT_SECONDS:
        raise _wrong("timeout_seconds", f"between 0 and {_MAX_TIMEOUT_SECONDS}")
    return float(value)


def _wrong(name: str, wanted: str) -> HostError:
    return HostError("invalid", f"The field {name} must be {wanted}.")
