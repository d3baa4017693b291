from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

import orjson
from redis import Redis

from tests.timeline.helpers import eventually, output, outputs
from timeline.frames import Rows, rows
from timeline.hub import QUEUE_UNITS, Hub, Subscription
from timeline.live import poke, publish
from timeline.log import LIVE, to_line


class Heads:
    """PostgreSQL's answer as the hub hears it."""

    def __init__(self) -> None:
        self.last: dict[str, int] = {}
        self.asked = 0

    async def __call__(self, sandbox_ids: Sequence[str]) -> Mapping[str, int]:
        self.asked += 1
        return {name: self.last[name] for name in sandbox_ids if name in self.last}


async def reading(hub: Hub, redis: Redis) -> None:
    """Until the hub's reader waits on the live stream."""

    def blocked() -> bool:
        clients: list[dict[str, str]] = redis.client_list()
        return any(client["cmd"] == "xread" for client in clients if client["db"] == "7")

    await eventually(blocked)


def tell(redis: Redis, first: int, last: int, *, sandbox_id: str = "sbx_1") -> None:
    lines = [to_line(event) for event in outputs(first, last)]
    publish(redis, sandbox_id=sandbox_id, first=first, lines=lines)


async def rows_of(viewer: Subscription) -> Rows:
    frame = await asyncio.wait_for(viewer.next(), 10)
    assert frame is not None
    return frame


async def test_viewers_of_a_sandbox_share_its_rows(hose_url: str, redis: Redis) -> None:
    hub = Hub(hose_url, heads=Heads())
    with hub.subscribe("sbx_1") as one, hub.subscribe("sbx_1") as two:
        await reading(hub, redis)
        tell(redis, 1, 3)
        frame = await rows_of(one)
        assert (frame.first, frame.last) == (1, 3)
        assert await rows_of(two) is frame
        assert orjson.loads(frame.text)["html"].count("data-seq") == 3


async def test_what_comes_close_together_is_one_frame(hose_url: str, redis: Redis) -> None:
    hub = Hub(hose_url, heads=Heads())
    with hub.subscribe("sbx_1") as viewer:
        await reading(hub, redis)
        pipe = redis.pipeline()
        for seq in range(1, 51):
            publish(pipe, sandbox_id="sbx_1", first=seq, lines=[to_line(output(seq))])
        pipe.execute()
        frames = [await rows_of(viewer)]
        while frames[-1].last < 50:
            frames.append(await rows_of(viewer))
        assert len(frames) < 10
        assert [frame.first for frame in frames[1:]] == [frame.last + 1 for frame in frames[:-1]]


async def test_it_reads_only_while_somebody_watches(hose_url: str, redis: Redis) -> None:
    hub = Hub(hose_url, heads=Heads())
    with hub.subscribe("sbx_1"):
        await reading(hub, redis)
    await eventually(lambda: all(client["cmd"] != "xread" for client in redis.client_list()))
    with hub.subscribe("sbx_1") as viewer:
        await reading(hub, redis)
        tell(redis, 1, 1)
        assert (await rows_of(viewer)).last == 1


async def test_it_renders_nothing_for_sandboxes_that_nobody_watches(
    hose_url: str, redis: Redis
) -> None:
    hub = Hub(hose_url, heads=Heads())
    with hub.subscribe("sbx_1") as viewer:
        await reading(hub, redis)
        redis.xadd(LIVE, {"s": "sbx_2", "q": 1, "e": "not even JSON"})
        redis.xadd(LIVE, {"what": "is this"})
        tell(redis, 1, 1)
        assert (await rows_of(viewer)).last == 1


def frames_of(size: int, count: int) -> list[Rows]:
    lines = [output(seq, text="x" * size) for seq in range(1, count + 1)]
    from timeline.events import Event

    return [
        rows([Event("sbx_1", seq, new.at, new.kind, new.actor, new.span, new.data)])
        for seq, new in enumerate(lines, 1)
    ]


async def test_a_viewer_that_does_not_read_loses_its_queue_and_is_told() -> None:
    viewer = Subscription()
    frames = frames_of(20_000, 200)
    for frame in frames:
        viewer.offer(frame)
    assert viewer.behind
    assert sum(frame.units for frame in viewer._queue) <= QUEUE_UNITS
    assert await viewer.next() is None
    assert viewer.edge == 200
    viewer.offer(frames[0])
    assert await viewer.next() is frames[0]


async def test_a_bare_seq_sends_viewers_to_postgresql(hose_url: str, redis: Redis) -> None:
    hub = Hub(hose_url, heads=Heads())
    with hub.subscribe("sbx_1") as viewer:
        await reading(hub, redis)
        poke(redis, sandbox_id="sbx_1", head=12)
        assert await asyncio.wait_for(viewer.next(), 10) is None
        assert viewer.edge == 12


async def test_what_was_stored_but_never_told_is_noticed(hose_url: str, redis: Redis) -> None:
    heads = Heads()
    heads.last["sbx_1"] = 5
    hub = Hub(hose_url, heads=heads)
    with hub.subscribe("sbx_1") as viewer:
        assert await asyncio.wait_for(viewer.next(), 10) is None
        assert viewer.edge == 5


async def test_it_comes_back_when_redis_does_and_compares_with_postgresql(
    hose_url: str, redis: Redis
) -> None:
    heads = Heads()
    hub = Hub(hose_url, heads=heads)
    with hub.subscribe("sbx_1") as viewer:
        await reading(hub, redis)
        await eventually(lambda: heads.asked > 0)
        heads.last["sbx_1"] = 9
        for client in redis.client_list():
            if client["cmd"] == "xread":
                redis.client_kill_filter(_id=client["id"])
        assert await asyncio.wait_for(viewer.next(), 10) is None
        assert viewer.edge == 9
        await reading(hub, redis)
        tell(redis, 10, 10)
        assert (await rows_of(viewer)).last == 10
