"""Frames: what is packed is read back, and nothing else is taken for one."""

from __future__ import annotations

import asyncio

import pytest

from sandboxes.host import wire
from sandboxes.host.types import Chunk, ExecEvent, Exited, HostError, Started


def feed(data: bytes) -> asyncio.StreamReader:
    """A reader at whose end ``data`` has come and the other side has closed."""
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    return reader


async def test_frames_are_read_back_one_after_another() -> None:
    reader = feed(wire.pack({"op": "a", "n": [1, {"x": "é"}]}, b"\0\xff") + wire.pack({}))
    assert await wire.read_frame(reader) == wire.Frame({"op": "a", "n": [1, {"x": "é"}]}, b"\0\xff")
    assert await wire.read_frame(reader) == wire.Frame({}, b"")
    assert await wire.read_frame(reader) is None


@pytest.mark.parametrize("cut", [1, 7, 8, 12, 20])
async def test_a_frame_that_is_cut_off_is_garbage(cut: int) -> None:
    with pytest.raises(wire.GarbageError):
        await wire.read_frame(feed(wire.pack({"op": "ping"}, b"payload")[:cut]))


@pytest.mark.parametrize("text", [b"[]", b"7", b"{", b"\xff\xfe", b'{"a": 1} x'])
async def test_a_header_that_is_no_object_is_garbage(text: bytes) -> None:
    with pytest.raises(wire.GarbageError):
        await wire.read_frame(feed(wire.LENGTHS.pack(len(text), 0) + text))


async def test_lengths_over_the_limits_are_refused_before_anything_is_read() -> None:
    for lengths in ((wire.HEADER_LIMIT + 1, 0), (2, wire.PAYLOAD_LIMIT + 1)):
        with pytest.raises(wire.GarbageError):
            await wire.read_frame(feed(wire.LENGTHS.pack(*lengths)))


def test_what_is_too_large_or_no_json_is_not_sent() -> None:
    for header, payload, code in (
        ({"a": "x" * wire.HEADER_LIMIT}, b"", "too_large"),
        ({}, bytes(wire.PAYLOAD_LIMIT + 1), "too_large"),
        ({"a": "\ud800"}, b"", "invalid"),
        ({"a": object()}, b"", "invalid"),
    ):
        with pytest.raises(HostError) as error:
            wire.pack(header, payload)
        assert error.value.code == code


def test_an_error_travels_whole() -> None:
    sent = HostError("no_space", "The disk is full; delete something.", extra={"free": 3})
    with pytest.raises(HostError) as error:
        wire.raise_error(wire.error_header(sent))
    assert (error.value.code, error.value.message, error.value.extra) == (
        "no_space",
        "The disk is full; delete something.",
        {"free": 3},
    )
    wire.raise_error({"ok": True})


@pytest.mark.parametrize(
    "event",
    [
        Started(7),
        Chunk("stderr", b"\xe2\x82"),
        Exited(0, None, 12, False),
        Exited(None, 9, 2001, True),
    ],
)
async def test_events_of_a_command_travel_whole(event: ExecEvent) -> None:
    frame = await wire.read_frame(feed(wire.pack_exec_event(event)))
    assert frame is not None
    assert wire.exec_event(frame) == event


def test_an_unknown_event_is_an_error() -> None:
    with pytest.raises(HostError):
        wire.exec_event(wire.Frame({"kind": "sang"}))
