from __future__ import annotations

from typing import cast

from redis import Redis
from redis.asyncio import Redis as AsyncRedis

from tests.timeline.helpers import batch_of
from timeline.log import (
    Batch,
    Cursor,
    append,
    cursor_key,
    cursors,
    shard_key,
    shard_of,
    tell_stored,
)


async def ship(url: str, batch: Batch, *, floor: int = 0) -> Cursor:
    async with AsyncRedis.from_url(url) as redis:
        (reply,) = await append(redis, [batch], floors=[floor])
    assert isinstance(reply, Cursor)
    return reply


def carried(redis: Redis, sandbox_id: str) -> list[tuple[int, int]]:
    """(first position, count) of what the sandbox's shard holds."""
    entries = cast(list[tuple[bytes, dict[bytes, bytes]]], redis.xrange(_stream(sandbox_id)))
    return [(int(fields[b"i"]), int(fields[b"n"])) for _, fields in entries]


def _stream(sandbox_id: str) -> str:
    return shard_key(shard_of(sandbox_id))


def test_sandboxes_spread_over_all_shards_and_stay_on_theirs() -> None:
    shards = [shard_of(f"sbx_{number}") for number in range(1000)]
    assert set(shards) == set(range(8))
    assert shards == [shard_of(f"sbx_{number}") for number in range(1000)]


async def test_a_batch_is_one_entry(hose_url: str, redis: Redis, sandbox_id: str) -> None:
    assert await ship(hose_url, batch_of(sandbox_id, 1, 500)) == Cursor(shipped=500, stored=0)
    assert carried(redis, sandbox_id) == [(1, 500)]


async def test_the_same_batch_twice_is_taken_once(
    hose_url: str, redis: Redis, sandbox_id: str
) -> None:
    for _ in range(3):
        assert (await ship(hose_url, batch_of(sandbox_id, 1, 5))).shipped == 5
    assert carried(redis, sandbox_id) == [(1, 5)]


async def test_a_batch_that_overlaps_is_refused_with_where_to_go_on(
    hose_url: str, redis: Redis, sandbox_id: str
) -> None:
    await ship(hose_url, batch_of(sandbox_id, 1, 5))
    assert (await ship(hose_url, batch_of(sandbox_id, 4, 9))).shipped == 5
    assert carried(redis, sandbox_id) == [(1, 5)]


async def test_a_batch_behind_a_hole_is_refused(
    hose_url: str, redis: Redis, sandbox_id: str
) -> None:
    await ship(hose_url, batch_of(sandbox_id, 1, 5))
    assert (await ship(hose_url, batch_of(sandbox_id, 9, 12))).shipped == 5
    assert carried(redis, sandbox_id) == [(1, 5)]


async def test_positions_may_jump_where_a_journal_was_opened_again(
    hose_url: str, redis: Redis, sandbox_id: str
) -> None:
    await ship(hose_url, batch_of(sandbox_id, 1, 5))
    await ship(hose_url, batch_of(sandbox_id, 2**50, 2**50 + 1, before=5))
    assert carried(redis, sandbox_id) == [(1, 5), (2**50, 2)]


async def test_a_redis_that_forgot_takes_what_follows_the_stored(
    hose_url: str, redis: Redis, sandbox_id: str
) -> None:
    await ship(hose_url, batch_of(sandbox_id, 1, 9))
    redis.flushdb()
    assert (await ship(hose_url, batch_of(sandbox_id, 10, 12), floor=6)).shipped == 6
    assert (await ship(hose_url, batch_of(sandbox_id, 7, 12), floor=6)).shipped == 12
    assert carried(redis, sandbox_id) == [(7, 6)]


async def test_it_says_how_far_the_tail_has_stored(
    hose_url: str, redis: Redis, sandbox_id: str
) -> None:
    await ship(hose_url, batch_of(sandbox_id, 1, 9))
    redis.hset(cursor_key(sandbox_id), "stored", 4)
    async with AsyncRedis.from_url(hose_url) as client:
        assert await cursors(client, [sandbox_id, "sbx_unknown"]) == [Cursor(9, 4), Cursor(0, 0)]
    assert 0 < redis.ttl(cursor_key(sandbox_id)) <= 7 * 24 * 3600


def test_a_worker_that_was_stopped_on_the_spot_takes_nothing_stored_back(
    redis: Redis, sandbox_id: str
) -> None:
    def told(position: int, *, gap: bool = False) -> int:
        tell_stored(redis, sandbox_id=sandbox_id, position=position, gap=gap)
        return int(cast(bytes, redis.hget(cursor_key(sandbox_id), "stored")))

    assert [told(position) for position in (9, 4, 10)] == [9, 9, 10]
    assert 0 < redis.ttl(cursor_key(sandbox_id)) <= 7 * 24 * 3600
    assert told(4, gap=True) == 4, "a database that was put back asks again"
