from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import orjson
import pytest
from redis import Redis

from tests.timeline.helpers import eventually, output, outputs
from timeline import shipper as shipper_module
from timeline.journal import Journal
from timeline.log import SHARDS, cursor_key, shard_key
from timeline.shipper import Shipper


@asynccontextmanager
async def running(url: str) -> AsyncIterator[Shipper]:
    shipper = Shipper(url, poll_seconds=0.1)
    task = asyncio.create_task(shipper.run())
    try:
        yield shipper
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def entries(redis: Redis) -> list[dict[bytes, bytes]]:
    streams: list[Any] = [redis.xrange(shard_key(shard)) for shard in range(SHARDS)]
    return [fields for stream in streams for _, fields in stream]


def shipped(redis: Redis, sandbox_id: str) -> list[int]:
    """The numbers of a sandbox's events in the order in which they were shipped."""
    return [
        orjson.loads(line)["data"]["number"]
        for fields in entries(redis)
        if fields[b"s"].decode() == sandbox_id
        for line in fields[b"e"].split(b"\n")
    ]


async def test_it_ships_many_journals_each_in_its_order(
    hose_url: str, redis: Redis, tmp_path: Path
) -> None:
    journals = [Journal(tmp_path / f"sbx_{number}", f"sbx_{number}") for number in range(30)]
    async with running(hose_url) as shipper:
        for journal in journals:
            shipper.add(journal)
        for number in range(1, 101):
            for journal in journals:
                journal.append(output(number))
            await asyncio.sleep(0)
        for journal in journals:
            assert await shipper.drained(journal.sandbox_id, timeout=20)
    for journal in journals:
        assert shipped(redis, journal.sandbox_id) == list(range(1, 101))


async def test_it_ships_what_another_thread_appends(
    hose_url: str, redis: Redis, tmp_path: Path, sandbox_id: str
) -> None:
    journal = Journal(tmp_path, sandbox_id)
    async with running(hose_url) as shipper:
        shipper.add(journal)
        await asyncio.sleep(0)

        def write() -> None:
            for number in range(1, 501):
                journal.append(output(number))

        writer = threading.Thread(target=write)
        writer.start()
        await eventually(lambda: not writer.is_alive())
        assert await shipper.drained(sandbox_id, timeout=20)
    assert shipped(redis, sandbox_id) == list(range(1, 501))


async def test_it_ships_what_an_earlier_process_left(
    hose_url: str, redis: Redis, tmp_path: Path, sandbox_id: str
) -> None:
    for first in (1, 101, 201):
        journal = Journal(tmp_path, sandbox_id)
        async with running(hose_url) as shipper:
            shipper.add(journal)
            journal.append_many(outputs(first, first + 49))
            assert await shipper.drained(sandbox_id, timeout=20)
        journal.append_many(outputs(first + 50, first + 99))
        journal.close()
    async with running(hose_url) as shipper:
        shipper.add(Journal(tmp_path, sandbox_id))
        assert await shipper.drained(sandbox_id, timeout=20)
    assert shipped(redis, sandbox_id) == list(range(1, 301))


async def test_a_redis_that_lost_everything_is_given_it_again(
    hose_url: str, redis: Redis, tmp_path: Path, sandbox_id: str
) -> None:
    journal = Journal(tmp_path, sandbox_id)
    async with running(hose_url) as shipper:
        shipper.add(journal)
        journal.append_many(outputs(1, 1200))
        assert await shipper.drained(sandbox_id, timeout=20)
        redis.flushdb()
        await eventually(lambda: len(shipped(redis, sandbox_id)) == 1200)
        journal.append(output(1201))
        assert await shipper.drained(sandbox_id, timeout=20)
    assert shipped(redis, sandbox_id) == list(range(1, 1202))


async def test_only_what_postgresql_does_not_have_is_given_again(
    hose_url: str, redis: Redis, tmp_path: Path, sandbox_id: str
) -> None:
    journal = Journal(tmp_path, sandbox_id)
    async with running(hose_url) as shipper:
        shipper.add(journal)
        journal.append_many(outputs(1, 100))
        assert await shipper.drained(sandbox_id, timeout=20)
        redis.hset(cursor_key(sandbox_id), "stored", journal.last - 10)
        await eventually(lambda: journal.stored == journal.last - 10)
        redis.flushdb()
        await eventually(lambda: len(shipped(redis, sandbox_id)) == 10)
    assert shipped(redis, sandbox_id) == list(range(91, 101))


async def test_a_removed_journal_is_deleted_once_postgresql_has_it_all(
    hose_url: str, redis: Redis, tmp_path: Path, sandbox_id: str
) -> None:
    journal = Journal(tmp_path, sandbox_id)
    async with running(hose_url) as shipper:
        shipper.add(journal)
        journal.append_many(outputs(1, 10))
        shipper.remove(sandbox_id)
        assert await shipper.drained(sandbox_id, timeout=20)
        redis.hset(cursor_key(sandbox_id), "stored", journal.last - 1)
        await eventually(lambda: journal.stored == journal.last - 1)
        assert journal.directory.exists()
        redis.hset(cursor_key(sandbox_id), "stored", journal.last)
        assert await shipper.settled(sandbox_id, timeout=20)
    assert not journal.directory.exists()


async def test_waiting_for_what_does_not_happen_ends_in_time(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "sbx_1")
    journal.append(output(1))
    async with running(f"unix://{tmp_path}/nobody.sock") as shipper:
        shipper.add(journal)
        assert not await shipper.drained("sbx_1", timeout=0.2)
        assert await shipper.drained("sbx_unknown", timeout=0.2)


async def test_with_storing_at_a_halt_redis_is_not_filled(
    hose_url: str, redis: Redis, tmp_path: Path, sandbox_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shipper_module, "JOURNAL_WINDOW", 200_000)
    journal, other = Journal(tmp_path / "a", sandbox_id), Journal(tmp_path / "b", "sbx_other")
    async with running(hose_url) as shipper:
        shipper.add(journal)
        shipper.add(other)
        for number in range(1, 301):
            journal.append(output(number, text="x" * 10_000))
        assert not await shipper.drained(sandbox_id, timeout=0.5)
        carried = shipped(redis, sandbox_id)
        assert 0 < len(carried) < 300
        other.append(output(1))
        assert await shipper.drained("sbx_other", timeout=20)

        def store_all() -> bool:
            known = redis.hgetall(cursor_key(sandbox_id))
            redis.hset(cursor_key(sandbox_id), "stored", int(known[b"shipped"]))
            return len(shipped(redis, sandbox_id)) == 300

        await eventually(store_all)
    assert shipped(redis, sandbox_id) == list(range(1, 301))
