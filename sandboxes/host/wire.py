"""Frames between the host and its callers: two lengths, a JSON header, raw bytes.

A frame is ``u32 header length, u32 payload length`` (little endian), the header, the payload.
One connection carries one request; the answer is one frame, a few, or a stream that ends with
the connection. Both sides refuse what is over the limits, so neither can be made to grow.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from sandboxes.host.types import (
    Chunk,
    Entry,
    ExecEvent,
    Exited,
    FileContent,
    HostError,
    Started,
    Stat,
)

HEADER_LIMIT = 2 * 1024 * 1024
PAYLOAD_LIMIT = 17 * 1024 * 1024
PIECE_BYTES = 256 * 1024
LENGTHS = struct.Struct("<II")


class GarbageError(Exception):
    """What came is no frame. The connection is of no further use."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message. ``header`` is a JSON object; ``payload`` is raw and often empty."""

    header: dict[str, Any]
    payload: bytes = b""


def pack(header: Mapping[str, Any], payload: bytes = b"") -> bytes:
    """The bytes of one frame. Raises ``HostError`` (invalid, too_large) for what cannot be sent."""
    return head(header, len(payload)) + payload if payload else head(header, 0)


def head(header: Mapping[str, Any], size: int) -> bytes:
    """What precedes a payload of that many bytes. Raises like ``pack``."""
    try:
        text = orjson.dumps(header)
    except (TypeError, ValueError) as error:
        raise HostError("invalid", f"This cannot be sent to the host: {error}.") from error
    if len(text) > HEADER_LIMIT or size > PAYLOAD_LIMIT:
        raise HostError("too_large", "The request is larger than the host takes; make it smaller.")
    return LENGTHS.pack(len(text), size) + text


async def read_frame(reader: asyncio.StreamReader) -> Frame | None:
    """The next frame, or None when the other side closed between two frames.

    Raises ``GarbageError`` for anything that is not a frame within the limits.
    """
    begun = await _begun(reader)
    if begun is None:
        return None
    header, size = begun
    try:
        return Frame(header, await reader.readexactly(size))
    except asyncio.IncompleteReadError as error:
        raise GarbageError("cut off in the body") from error


async def read_long_frame(reader: asyncio.StreamReader) -> tuple[dict[str, Any], bytearray] | None:
    """The same, of whose payload there is never a second copy."""
    begun = await _begun(reader)
    if begun is None:
        return None
    header, size = begun
    payload = bytearray()
    while len(payload) < size:
        piece = await reader.read(min(size - len(payload), PIECE_BYTES))
        if not piece:
            raise GarbageError("cut off in the body")
        payload += piece
    return header, payload


async def _begun(reader: asyncio.StreamReader) -> tuple[dict[str, Any], int] | None:
    """A frame's header, and how long the payload is that follows."""
    try:
        lengths = await reader.readexactly(LENGTHS.size)
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise GarbageError("cut off in the lengths") from error
        return None
    header_length, payload_length = LENGTHS.unpack(lengths)
    if header_length > HEADER_LIMIT or payload_length > PAYLOAD_LIMIT:
        raise GarbageError("longer than allowed")
    try:
        text = await reader.readexactly(header_length)
    except asyncio.IncompleteReadError as error:
        raise GarbageError("cut off in the body") from error
    return parse_header(text), payload_length


def parse_header(text: bytes) -> dict[str, Any]:
    """The header's object. Raises ``GarbageError`` when it is anything else."""
    try:
        header = orjson.loads(text)
    except ValueError as error:
        raise GarbageError("header is not JSON") from error
    if not isinstance(header, dict):
        raise GarbageError("header is not an object")
    return header


def error_header(error: HostError) -> dict[str, Any]:
    """How a refusal travels."""
    return {"error": {"code": error.code, "message": error.message, "extra": error.extra}}


def raise_error(header: Mapping[str, Any]) -> None:
    """Raise the ``HostError`` that this header carries, if it carries one."""
    error = header.get("error")
    if error is None:
        return
    if not isinstance(error, dict):
        raise HostError("internal", "The sandbox host gave an answer that makes no sense.")
    extra = error.get("extra")
    raise HostError(
        str(error.get("code", "internal")),
        str(error.get("message", "The sandbox host refused without saying why.")),
        extra=extra if isinstance(extra, dict) else None,
    )


def pack_exec_event(event: ExecEvent) -> bytes:
    """One frame of a streamed command."""
    if isinstance(event, Started):
        return pack({"kind": "started", "pid": event.pid})
    if isinstance(event, Chunk):
        return pack({"kind": "chunk", "stream": event.stream}, event.data)
    return pack(
        {
            "kind": "exited",
            "exit_code": event.exit_code,
            "signal": event.signal,
            "duration_ms": event.duration_ms,
            "timed_out": event.timed_out,
        }
    )


def exec_event(frame: Frame) -> ExecEvent:
    """The reverse of ``pack_exec_event``. Raises ``HostError`` for anything else."""
    header = frame.header
    raise_error(header)
    match header.get("kind"):
        case "started":
            return Started(header["pid"])
        case "chunk":
            return Chunk(header["stream"], frame.payload)
        case "exited":
            return Exited(
                header["exit_code"], header["signal"], header["duration_ms"], header["timed_out"]
            )
    raise HostError("internal", "The sandbox host sent an event that makes no sense.")


def entry_row(entry: Entry) -> list[Any]:
    """A directory's entry as the short row that a listing of thousands is made of."""
    return [entry.name, entry.is_dir, entry.size, entry.mode, entry.modified_at]


def file_header(content: FileContent) -> dict[str, Any]:
    """All of a file but its bytes, which are the payload."""
    return {
        "ok": True,
        "size": content.size,
        "mode": content.mode,
        "modified_at": content.modified_at,
    }


def stat_header(stat: Stat) -> dict[str, Any]:
    """What a path is, as an answer."""
    return {
        "ok": True,
        "path": stat.path,
        "exists": stat.exists,
        "is_dir": stat.is_dir,
        "size": stat.size,
        "mode": stat.mode,
        "modified_at": stat.modified_at,
    }
