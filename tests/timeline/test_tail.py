from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import orjson
import psycopg
import pytest
from psycopg import Connection
from redis import Redis

from tests.timeline.helpers import batch_of, one_each, output, stored
from tests.waiting import until
from timeline import bootstep
from timeline.events import Event, NewEvent
from timeline.leases import Leases
from timeline.log import LIVE, SHARDS, Batch, cursor_key, shard_key, shard_of, to_line
from timeline.observers import Observers
from timeline.shards import GROUP, Shards
from timeline.tail import Tail

StartTail = Callable[..., Tail]


@pytest.fixture
def start_tail(hose_url: str, db: None) -> Iterator[StartTail]:
    tails: list[Tail] = []

    def start(**options: Any) -> Tail:
        tail = Tail(redis_url=hose_url, connect=bootstep.connect, **options)
        tails.append(tail)
        tail.start()
        return tail

    yield start
    for tail in tails:
        assert tail.stop()


def ship(redis: Redis, *batches: Batch) -> None:
    """As the script would, whatever the cursor says."""
    for batch in batches:
        fields: dict[Any, Any] = {
            "s": batch.sandbox_id,
            "b": batch.before,
            "i": batch.first,
            "n": batch.count,
            "e": batch.lines,
        }
        redis.xadd(_stream(batch.sandbox_id), fields)


def _stream(sandbox_id: str) -> str:
    return shard_key(shard_of(sandbox_id))


def has(database: Connection[Any], sandbox_id: str, count: int) -> Callable[[], bool]:
    return lambda: len(stored(database, sandbox_id)) >= count


def live(redis: Redis, sandbox_id: str) -> list[tuple[int, list[int]]]:
    """(first seq, numbers of the events) of what was told live; no numbers for a bare seq."""
    entries: Any = redis.xrange(LIVE)
    return [
        (int(fields[b"q"]), [orjson.loads(line)["data"]["number"] for line in _lines(fields)])
        for _, fields in entries
        if fields[b"s"].decode() == sandbox_id
    ]


def _lines(fields: dict[bytes, bytes]) -> list[bytes]:
    return fields[b"e"].split(b"\n") if b"e" in fields else []


def test_it_stores_tells_and_forgets(
    start_tail: StartTail, redis: Redis, database: Connection[Any], sandbox_id: str
) -> None:
    start_tail()
    ship(redis, batch_of(sandbox_id, 1, 3), batch_of(sandbox_id, 4, 5))
    until(lambda: redis.xlen(_stream(sandbox_id)) == 0 and has(database, sandbox_id, 5)())
    assert stored(database, sandbox_id) == one_each(range(1, 6))
    told = [number for _, numbers in live(redis, sandbox_id) for number in numbers]
    assert told == [1, 2, 3, 4, 5]
    assert redis.hget(cursor_key(sandbox_id), "stored") == b"5"
    pending: Any = redis.xpending(_stream(sandbox_id), GROUP)
    assert pending["pending"] == 0


def test_every_shard_is_tailed(
    start_tail: StartTail, redis: Redis, database: Connection[Any], sandbox_id: str
) -> None:
    start_tail()
    names = [f"{sandbox_id}{number}" for number in range(60)]
    assert {shard_of(name) for name in names} == set(range(SHARDS))
    ship(redis, *(batch_of(name, 1, 2) for name in names))
    for name in names:
        until(has(database, name, 2))


def test_large_batches_are_told_live_in_small_entries(
    start_tail: StartTail, redis: Redis, database: Connection[Any], sandbox_id: str
) -> None:
    start_tail()
    lines = [to_line(output(number, text="x" * 20_000)) for number in range(1, 11)]
    ship(redis, Batch(sandbox_id, 0, 1, 10, b"\n".join(lines)))
    until(has(database, sandbox_id, 10))
    until(lambda: redis.hget(cursor_key(sandbox_id), "stored") == b"10")
    assert live(redis, sandbox_id) == [(1, [1, 2, 3]), (4, [4, 5, 6]), (7, [7, 8, 9]), (10, [10])]


def test_what_a_dead_worker_had_read_is_taken_over(
    start_tail: StartTail, redis: Redis, database: Connection[Any], sandbox_id: str
) -> None:
    dead = Leases(redis, name="dead")
    shards = Shards(redis)
    shards.follow(dead.tick())
    ship(redis, batch_of(sandbox_id, 1, 4))
    assert shards.read() == []  # nothing is pending yet
    assert len(shards.read()) == 1
    start_tail()
    ship(redis, batch_of(sandbox_id, 5, 6))
    until(has(database, sandbox_id, 6), seconds=10)
    assert stored(database, sandbox_id) == one_each(range(1, 7))


def test_what_was_stored_by_a_worker_that_died_before_telling_is_told(
    start_tail: StartTail, redis: Redis, database: Connection[Any], sandbox_id: str
) -> None:
    from timeline.store import store

    ship(redis, batch_of(sandbox_id, 1, 4))
    store(database, [batch_of(sandbox_id, 1, 4)])
    start_tail()
    until(lambda: live(redis, sandbox_id) == [(4, [])])
    assert redis.hget(cursor_key(sandbox_id), "stored") == b"4"
    assert stored(database, sandbox_id) == one_each(range(1, 5))


def test_events_that_went_missing_in_redis_are_asked_for_again(
    start_tail: StartTail, redis: Redis, database: Connection[Any], sandbox_id: str
) -> None:
    start_tail()
    ship(redis, batch_of(sandbox_id, 1, 3))
    until(has(database, sandbox_id, 3))
    redis.hset(cursor_key(sandbox_id), "shipped", 9)
    ship(redis, batch_of(sandbox_id, 7, 9))
    until(lambda: redis.hget(cursor_key(sandbox_id), "shipped") == b"3")
    ship(redis, batch_of(sandbox_id, 4, 9))
    until(has(database, sandbox_id, 9))
    assert stored(database, sandbox_id) == one_each(range(1, 10))


def test_it_goes_on_after_redis_lost_its_streams(
    start_tail: StartTail, redis: Redis, database: Connection[Any], sandbox_id: str
) -> None:
    start_tail()
    ship(redis, batch_of(sandbox_id, 1, 3))
    until(has(database, sandbox_id, 3))
    redis.flushdb()
    ship(redis, batch_of(sandbox_id, 1, 6))
    until(has(database, sandbox_id, 6))
    assert stored(database, sandbox_id) == one_each(range(1, 7))


def test_what_is_no_batch_is_left_out(
    start_tail: StartTail, redis: Redis, database: Connection[Any], sandbox_id: str
) -> None:
    start_tail()
    whole: dict[Any, Any] = {"s": sandbox_id, "b": 0, "i": 1, "n": 1, "e": to_line(output(1))}
    changes: list[dict[Any, Any]] = [
        {"s": "a\0b"},
        {"s": b"\xff"},
        {"s": "x" * 200},
        {"i": "one"},
        {"i": 0},
        {"n": 0},
        {"n": 10**9},
        {"b": 5},
        {"b": -1},
        {"i": 2**70, "b": 1},
    ]
    for change in changes:
        redis.xadd(_stream(sandbox_id), {**whole, **change})
    redis.xadd(_stream(sandbox_id), {"hello": "world"})
    ship(redis, batch_of(sandbox_id, 1, 2))
    until(has(database, sandbox_id, 2))
    until(lambda: redis.xlen(_stream(sandbox_id)) == 0)
    assert stored(database, sandbox_id) == one_each([1, 2])


def test_workers_share_the_shards_and_give_them_back(hose_url: str, redis: Redis) -> None:
    first, second, third = (Leases(redis, name=name) for name in ("one", "two", "three"))
    assert len(first.tick()) == SHARDS
    assert second.tick() == set()
    kept = first.tick()
    assert len(kept) == SHARDS // 2
    assert second.tick() == set(range(SHARDS)) - kept
    third.tick()
    shares = [leases.tick() for leases in (first, second, third, first, second, third)][3:]
    assert sorted(map(len, shares)) == [2, 3, 3]
    assert set().union(*shares) == set(range(SHARDS))
    first.leave()
    second.leave()
    assert third.tick() == set(range(SHARDS))


def test_several_workers_store_each_event_once(
    start_tail: StartTail, redis: Redis, database: Connection[Any], sandbox_id: str
) -> None:
    names = [f"{sandbox_id}{letter}" for letter in "abcdefghij"]
    for position in range(1, 300, 3):
        if position % 60 == 1:
            start_tail()
        ship(redis, *(batch_of(name, position, position + 2) for name in names))
    for name in names:
        until(has(database, name, 300))
        assert stored(database, name) == one_each(range(1, 301))


def test_it_waits_for_postgresql_and_goes_on(
    hose_url: str, redis: Redis, database: Connection[Any], sandbox_id: str
) -> None:
    refused = threading.Semaphore(0)
    away = threading.Event()

    def connect() -> Connection[Any]:
        if not away.is_set():
            refused.release()
            raise psycopg.OperationalError("the server is starting up")
        return bootstep.connect()

    tail = Tail(redis_url=hose_url, connect=connect)
    tail.start()
    try:
        ship(redis, batch_of(sandbox_id, 1, 2))
        assert refused.acquire(timeout=10)
        assert refused.acquire(timeout=10)
        away.set()
        until(has(database, sandbox_id, 2))
    finally:
        assert tail.stop()


def test_a_session_that_postgresql_ends_is_opened_again(
    start_tail: StartTail, redis: Redis, database: Connection[Any], sandbox_id: str
) -> None:
    start_tail()
    for number in range(1, 4):
        ship(redis, batch_of(sandbox_id, number, number))
        until(has(database, sandbox_id, number))
        database.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
    assert stored(database, sandbox_id) == one_each([1, 2, 3])


def test_it_stops_within_its_time_with_nothing_to_do(start_tail: StartTail, redis: Redis) -> None:
    tail = start_tail()
    until(lambda: bool(redis.exists("tl:lease:0")))
    began = time.monotonic()
    assert tail.stop()
    assert time.monotonic() - began < 5
    assert not redis.exists("tl:lease:0")


def test_observers_hear_of_the_lifecycle_and_their_errors_stop_nothing(
    start_tail: StartTail, redis: Redis, database: Connection[Any], sandbox_id: str
) -> None:
    heard: list[tuple[int, str]] = []

    def broken(events: Sequence[Event]) -> None:
        raise RuntimeError("an observer's own fault")

    def listen(events: Sequence[Event]) -> None:
        heard.extend((event.seq, event.kind) for event in events)

    start_tail(observers=Observers([broken, listen]))
    events = [
        NewEvent("sandbox.created", {"number": 1}),
        output(2),
        NewEvent("sandbox.terminated", {"number": 3, "reason": "expired"}),
    ]
    lines = b"\n".join(map(to_line, events))
    ship(redis, Batch(sandbox_id, 0, 1, 3, lines), batch_of(sandbox_id, 4, 4))
    until(has(database, sandbox_id, 4))
    until(lambda: len(heard) == 2)
    assert heard == [(1, "sandbox.created"), (3, "sandbox.terminated")]


def test_observers_hear_again_of_what_a_dead_worker_may_not_have_told(
    start_tail: StartTail, redis: Redis, database: Connection[Any], sandbox_id: str
) -> None:
    from timeline.store import store

    batch = Batch(sandbox_id, 0, 1, 1, to_line(NewEvent("sandbox.failed", {"number": 1})))
    store(database, [batch])
    ship(redis, batch)
    heard: list[Event] = []
    start_tail(observers=Observers([heard.extend], recall=bootstep.recall))
    until(lambda: bool(heard))
    assert [(event.seq, event.kind) for event in heard] == [(1, "sandbox.failed")]
