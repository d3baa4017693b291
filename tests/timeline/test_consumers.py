"""The timeline's websocket, against the real database, Redis and hub."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from threading import Barrier
from typing import Any

import orjson
import pytest
from channels.layers import get_channel_layer
from channels.routing import URLRouter
from channels.testing import WebsocketCommunicator
from django.conf import settings
from django.db import connection
from django.urls import path
from psycopg import Connection
from redis import Redis

from tests.timeline.helpers import batch_of, eventually, output
from timeline import consumers
from timeline import hub as hub_module
from timeline.consumers import TimelineConsumer
from timeline.extensions import WRITE
from timeline.frames import utf16_units
from timeline.hub import get_hub
from timeline.live import publish
from timeline.log import Batch, to_line
from timeline.pages import _THREADS
from timeline.store import store
from timeline.viewer import KEEP_EVENTS, SKIP_EVENTS, UNACKNOWLEDGED_UNITS


class Console(TimelineConsumer):
    """Lets everybody watch what is not called a secret, until one token is revoked."""

    async def authorize(self, sandbox_id: str) -> bool:
        return "secret" not in sandbox_id

    async def ended_by(self, message: Mapping[str, Any]) -> str | None:
        return "revoked" if message == {"type": "token.revoked", "token_id": "tok_1"} else None


APPLICATION = URLRouter([path("ws/<sandbox_id>/", Console.as_asgi())])


class Browser:
    """What a page does with the socket: notes what it holds, and acknowledges."""

    def __init__(self, socket: WebsocketCommunicator) -> None:
        self.socket = socket
        self.frames: list[dict[str, Any]] = []
        self.received = 0

    async def read(self, *, acknowledge: bool = True) -> dict[str, Any]:
        frame: dict[str, Any] = orjson.loads(await self.socket.receive_from(timeout=10))
        self.frames.append(frame)
        if "html" in frame:
            self.received += utf16_units(frame["html"])
            if acknowledge:
                await self.acknowledge(self.received)
        return frame

    async def acknowledge(self, units: int) -> None:
        await self.socket.send_to(orjson.dumps({"t": "ack", "bytes": units}).decode())

    async def read_until(self, kind: str) -> dict[str, Any]:
        while (frame := await self.read())["t"] != kind:
            pass
        return frame

    async def hold(self, seq: int) -> None:
        while not self.held or self.held[-1][1] < seq:
            await self.read()

    @property
    def held(self) -> list[tuple[int, int]]:
        """The ranges that rows and skips have covered, in their order."""
        return [(f["from"], f["to"]) for f in self.frames if f["t"] in {"rows", "skip"}]

    def is_gapless_from(self, after: int) -> bool:
        return [first for first, _ in self.held] == [after + 1, *(to + 1 for _, to in self.held)][
            : len(self.held)
        ]


@asynccontextmanager
async def browsing(sandbox_id: str, query: str = "") -> AsyncIterator[Browser]:
    socket = WebsocketCommunicator(APPLICATION, f"/ws/{sandbox_id}/?{query}")
    async with opened(socket) as browser:
        yield browser


@asynccontextmanager
async def opened(socket: WebsocketCommunicator) -> AsyncIterator[Browser]:
    connected, _ = await socket.connect(timeout=10)
    assert connected
    try:
        yield Browser(socket)
    finally:
        await socket.disconnect(timeout=10)


@pytest.fixture(autouse=True)
def apart(hose_url: str, db: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(settings, "REDIS_URL", hose_url)
    yield
    # Channels' communicator keeps connections open, which its own server closes.
    threads = len(_THREADS._threads)
    together = Barrier(threads + 1)

    def close() -> None:
        connection.close()
        together.wait(10)

    for _ in range(threads):
        _THREADS.submit(close)
    together.wait(10)


async def live(redis: Redis) -> None:
    """Until the process's hub waits for live events."""
    await eventually(lambda: any(client["cmd"] == "xread" for client in redis.client_list()))


def append(
    database: Connection[Any], redis: Redis | None, sandbox_id: str, first: int, last: int
) -> None:
    """Store events, and tell of them unless there is no Redis."""
    (result,) = store(database, [batch_of(sandbox_id, first, last)])
    if redis is not None:
        publish(redis, sandbox_id=sandbox_id, first=result.first, lines=result.lines)


async def test_it_backfills_and_goes_live(
    database: Connection[Any], redis: Redis, sandbox_id: str
) -> None:
    append(database, None, sandbox_id, 1, 250)
    async with browsing(sandbox_id) as browser:
        assert (await browser.read_until("edge"))["seq"] == 250
        assert browser.is_gapless_from(0)
        await live(redis)
        append(database, redis, sandbox_id, 251, 253)
        await browser.hold(253)
        assert browser.is_gapless_from(0)
        assert browser.frames[-1]["html"].count('id="e25') == 3


async def test_it_begins_behind_what_the_viewer_has(
    database: Connection[Any], sandbox_id: str
) -> None:
    append(database, None, sandbox_id, 1, 30)
    async with browsing(sandbox_id, "after=25") as browser:
        await browser.read_until("edge")
        assert browser.held == [(26, 30)]
    async with browsing(sandbox_id, "after=30") as browser:
        assert await browser.read() == {"t": "edge", "seq": 30}
    async with browsing(sandbox_id, "after=999999") as browser:
        assert await browser.read() == {"t": "edge", "seq": 30}


async def test_a_gap_is_repaired_and_a_duplicate_dropped(
    database: Connection[Any], redis: Redis, sandbox_id: str
) -> None:
    async with browsing(sandbox_id) as browser:
        await browser.read_until("edge")
        await live(redis)
        append(database, redis, sandbox_id, 1, 2)
        await browser.hold(2)
        append(database, None, sandbox_id, 3, 7)
        append(database, redis, sandbox_id, 8, 8)
        assert (await browser.read_until("repaired"))["count"] == 6
        lines = [to_line(output(seq)) for seq in range(4, 9)]
        publish(redis, sandbox_id=sandbox_id, first=4, lines=lines)
        append(database, redis, sandbox_id, 9, 9)
        await browser.hold(9)
        assert browser.is_gapless_from(0)
        assert browser.held[-1] == (9, 9)


async def test_what_was_never_told_arrives_all_the_same(
    database: Connection[Any], sandbox_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_module, "VERIFY_SECONDS", 0.2)
    async with browsing(sandbox_id) as browser:
        await browser.read_until("edge")
        append(database, None, sandbox_id, 1, 4)
        await browser.hold(4)
        assert browser.is_gapless_from(0)


def large(sandbox_id: str, first: int, last: int) -> Batch:
    lines = [to_line(output(seq, text=f"{seq} " + "x" * 16_000)) for seq in range(first, last + 1)]
    return Batch(sandbox_id, first - 1, first, last - first + 1, b"\n".join(lines))


async def silent(browser: Browser) -> bool:
    return bool(await browser.socket.receive_nothing(timeout=0.5, interval=0.05))


async def test_it_stops_at_unacknowledged_bytes_and_catches_up_from_postgresql(
    database: Connection[Any], redis: Redis, sandbox_id: str
) -> None:
    async with browsing(sandbox_id) as browser:
        await browser.read_until("edge")
        await live(redis)
        for first in range(1, 400, 20):
            (result,) = store(database, [large(sandbox_id, first, first + 19)])
            publish(redis, sandbox_id=sandbox_id, first=result.first, lines=result.lines)
        while browser.received < UNACKNOWLEDGED_UNITS:
            await browser.read(acknowledge=False)
        assert await silent(browser)
        assert browser.received < UNACKNOWLEDGED_UNITS + 2 * 64 * 1024
        (subscription,) = next(iter(get_hub()._feeds.values())).viewers
        assert sum(frame.units for frame in subscription._queue) <= hub_module.QUEUE_UNITS
        await browser.acknowledge(browser.received)
        await browser.hold(400)
        assert browser.is_gapless_from(0)
        assert all(frame["t"] == "rows" for frame in browser.frames[1:])
        assert max(len(frame["html"]) for frame in browser.frames[1:]) < 80_000


async def test_a_viewer_far_behind_jumps_and_is_told(
    database: Connection[Any], redis: Redis, sandbox_id: str
) -> None:
    append(database, None, sandbox_id, 1, SKIP_EVENTS + 500)
    async with browsing(sandbox_id, "after=100") as browser:
        await browser.read_until("edge")
        end = SKIP_EVENTS + 500
        assert browser.frames[0] == {"t": "skip", "from": 101, "to": end - KEEP_EVENTS}
        assert browser.is_gapless_from(100)
        assert browser.held[-1][1] == end


async def test_lengths_are_counted_as_the_browser_counts_them(
    database: Connection[Any], sandbox_id: str
) -> None:
    lines = [to_line(output(seq, text="🙂" * 5000)) for seq in range(1, 101)]
    store(database, [Batch(sandbox_id, 0, 1, 100, b"\n".join(lines))])
    async with browsing(sandbox_id) as browser:
        await browser.read_until("edge")
        assert browser.is_gapless_from(0)


@pytest.mark.parametrize(
    "message",
    [
        " ",
        "hello",
        "[]",
        "{}",
        "null",
        '{"t":"ack"}',
        '{"t":"ack","bytes":-1}',
        '{"t":"ack","bytes":"1"}',
        '{"t":"ack","bytes":true}',
        '{"t":"ack","bytes":1.5}',
        '{"t":"ack","bytes":1000000}',
        '{"t":"rows","bytes":1}',
        '{"t":"ack","bytes":0,"more":"' + "x" * 300 + '"}',
        b"\x00\x01",
    ],
)
async def test_a_malformed_message_ends_the_socket(sandbox_id: str, message: str | bytes) -> None:
    async with browsing(sandbox_id) as browser:
        await browser.read_until("edge")
        if isinstance(message, bytes):
            await browser.socket.send_to(bytes_data=message)
        else:
            await browser.socket.send_to(text_data=message)
        assert await browser.read() == {"t": "bye", "code": "malformed"}
        assert (await browser.socket.receive_output(timeout=10))["code"] == 4400


@pytest.mark.parametrize("after", ["x", "-1", "1.5", "", "9" * 30, "%C2%B2", "1%00"])
async def test_a_malformed_seq_ends_the_socket(sandbox_id: str, after: str) -> None:
    async with browsing(sandbox_id, f"after={after}") as browser:
        assert await browser.read() == {"t": "bye", "code": "malformed"}
        assert (await browser.socket.receive_output(timeout=10))["code"] == 4400


async def test_who_may_not_watch_is_told_that_there_is_nothing(sandbox_id: str) -> None:
    async with browsing(f"{sandbox_id}secret") as browser:
        assert await browser.read() == {"t": "bye", "code": "not_found"}
        assert (await browser.socket.receive_output(timeout=10))["code"] == 4404


async def test_a_control_message_can_end_it(sandbox_id: str) -> None:
    layer = get_channel_layer()
    assert layer is not None
    async with browsing(sandbox_id) as browser:
        await browser.read_until("edge")
        await layer.group_send("control", {"type": "token.revoked", "token_id": "tok_2"})
        await layer.group_send("control", {"type": "something.new"})
        await layer.group_send("control", {"type": "token.revoked", "token_id": "tok_1"})
        assert await browser.read() == {"t": "bye", "code": "revoked"}
        assert (await browser.socket.receive_output(timeout=10))["code"] == 4401


async def test_it_leaves_nothing_behind(redis: Redis, sandbox_id: str) -> None:
    async with browsing(sandbox_id) as browser:
        await browser.read_until("edge")
        await live(redis)
        assert sandbox_id in get_hub()._feeds
    await eventually(lambda: sandbox_id not in get_hub()._feeds)
    await eventually(lambda: not any(c["cmd"] == "xread" for c in redis.client_list()))


async def test_many_viewers_at_once_all_hold_everything(
    database: Connection[Any], redis: Redis, sandbox_id: str
) -> None:
    append(database, None, sandbox_id, 1, 50)

    async def watch() -> Browser:
        async with browsing(sandbox_id) as browser:
            await browser.hold(450)
            return browser

    watching = [asyncio.create_task(watch()) for _ in range(30)]
    for first in range(51, 451, 10):
        append(database, redis, sandbox_id, first, first + 9)
        await asyncio.sleep(0)
    for browser in await asyncio.wait_for(asyncio.gather(*watching), 30):
        assert browser.is_gapless_from(0)


async def test_a_server_that_writes_at_once_is_sent_what_it_does_not_write(
    database: Connection[Any], redis: Redis, sandbox_id: str
) -> None:
    socket = WebsocketCommunicator(APPLICATION, f"/ws/{sandbox_id}/")
    asked: list[bytes] = []

    def write(payload: bytes) -> bool:
        """Takes two of three: the third time the peer is behind."""
        asked.append(payload)
        taken = len(asked) % 3 != 0
        if taken:
            socket.output_queue.put_nowait({"type": "websocket.send", "text": payload.decode()})
        return taken

    socket.scope["extensions"] = {WRITE: write}
    async with opened(socket) as browser:
        await browser.read_until("edge")
        await live(redis)
        for seq in range(1, 200):
            append(database, redis, sandbox_id, seq, seq)
            await browser.hold(seq)
        assert browser.is_gapless_from(0)
        assert browser.held[-1][1] == 199
        assert len(asked) > 2


async def test_a_right_that_was_taken_away_ends_the_socket_without_a_message(
    database: Connection[Any], sandbox_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([True, True, False])

    async def authorize(self: Console, sandbox_id: str) -> bool:
        return next(answers)

    monkeypatch.setattr(Console, "authorize", authorize)
    monkeypatch.setattr(consumers, "RECHECK_SECONDS", 0.02)
    socket = WebsocketCommunicator(APPLICATION, f"/ws/{sandbox_id}/")
    assert (await socket.connect())[0]
    frames = []
    while (message := await socket.receive_output(timeout=10))["type"] == "websocket.send":
        frames.append(orjson.loads(message["text"])["t"])
    assert (message["type"], message["code"]) == ("websocket.close", 4401)
    assert frames[-1] == "bye"
    await socket.disconnect()
