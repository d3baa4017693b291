"""The tail: a thread of a Celery worker that moves events from the shards to PostgreSQL.

Each round stores a batch, tells the live stream, tells the journals, and only then acknowledges.
Dying anywhere in between makes another worker (or the next start) do the same entries again.
"""

from __future__ import annotations

import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, Final

import orjson
import psycopg
from psycopg import Connection
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

from timeline import metrics
from timeline.events import now_us
from timeline.indexing import index_later
from timeline.leases import RENEW_SECONDS, Leases
from timeline.live import poke, publish
from timeline.log import cursor_key, shard_key, tell_stored
from timeline.observers import Observers
from timeline.shards import GROUP, Entry, Shards
from timeline.store import Stored, store

_LONGEST_PAUSE: Final = 2.0

log = logging.getLogger(__name__)


class Tail(threading.Thread):
    """Tails its share of the shards until stopped, whatever Redis and PostgreSQL do.

    ``connect`` opens an autocommit connection to PostgreSQL; ``observers`` hear of lifecycle
    events after they are stored.
    """

    def __init__(
        self,
        *,
        redis_url: str,
        connect: Callable[[], Connection[Any]],
        observers: Observers | None = None,
    ) -> None:
        super().__init__(name="timeline-tail", daemon=True)
        self._redis_url = redis_url
        self._connect = connect
        self._observers = observers or Observers(())
        self._worker = f"{socket.gethostname()}:{os.getpid()}:{secrets.token_hex(4)}"
        self._stopping = threading.Event()

    def stop(self, *, seconds: float = 5.0) -> bool:
        """Finish the round at hand and give the shards back; False when that took too long."""
        self._stopping.set()
        if self.is_alive():
            self.join(seconds)
        return not self.is_alive()

    def run(self) -> None:
        """Serve, and after any failure serve again with fresh connections."""
        pause = 0.0
        while not self._stopping.is_set():
            began = time.monotonic()
            try:
                self._serve()
            except (RedisError, psycopg.Error, OSError) as error:
                metrics.tail_failures.inc()
                log.warning("The tail pauses: %s", str(error).strip() or repr(error))
            except Exception:
                metrics.tail_failures.inc()
                log.exception("The tail failed and starts again")
            settled = time.monotonic() - began > _LONGEST_PAUSE
            pause = 0.05 if settled or not pause else min(pause * 2, _LONGEST_PAUSE)
            self._stopping.wait(pause)

    def _serve(self) -> None:
        redis = Redis.from_url(
            self._redis_url, socket_timeout=5, protocol=2, retry=Retry(NoBackoff(), 0)
        )
        leases = Leases(redis, name=self._worker)
        try:
            with self._connect() as connection:
                self._follow(redis, connection, leases)
            leases.leave()
        finally:
            redis.close()

    def _follow(self, redis: Redis, connection: Connection[Any], leases: Leases) -> None:
        shards = Shards(redis)
        mine: set[int] = set()
        next_tick = 0.0
        while not self._stopping.is_set():
            now = time.monotonic()
            if now >= next_tick:
                held, mine = mine, leases.tick()
                metrics.tail_takeovers.inc(len(mine - held))
                shards.follow(mine)
                next_tick = now + RENEW_SECONDS
            if not mine:
                self._stopping.wait(RENEW_SECONDS / 2)
            elif entries := shards.read():
                self._handle(redis, connection, shards, entries)

    def _handle(
        self, redis: Redis, connection: Connection[Any], shards: Shards, entries: Sequence[Entry]
    ) -> None:
        batches = [entry.batch for entry in entries if entry.batch]
        began = time.perf_counter()
        results = store(connection, batches)
        _measure(results, time.perf_counter() - began)
        _tell(redis, results)
        self._observers.notify(batches, results)
        following = iter(results)
        outcomes = [(entry, next(following) if entry.batch else None) for entry in entries]
        _count(outcomes)
        done, early, lost = _sort(outcomes)
        _rewind(redis, lost)
        _acknowledge(redis, done)
        shards.reread({entry.shard for entry in early})


def _sort(
    outcomes: Sequence[tuple[Entry, Stored | None]],
) -> tuple[list[Entry], list[Entry], list[Stored]]:
    """Entries that are dealt with, entries to read again, and what is missing for good.

    Behind a hole, what is missing may still be pending from another worker. When reading the
    pending ones in order did not bring it either, it is gone.
    """
    done: list[Entry] = []
    early: list[Entry] = []
    lost: list[Stored] = []
    for entry, result in outcomes:
        if result is None or not result.gap:
            done.append(entry)
        elif entry.again:
            done.append(entry)
            lost.append(result)
        else:
            early.append(entry)
    return done, early, lost


def _count(outcomes: Sequence[tuple[Entry, Stored | None]]) -> None:
    counts: dict[str, int] = {}
    for entry, result in outcomes:
        outcome = _outcome(entry, result)
        counts[outcome] = counts.get(outcome, 0) + 1
    for outcome, count in counts.items():
        metrics.tail_batches.labels(outcome).inc(count)
    metrics.tail_claimed.inc(sum(entry.again for entry, _ in outcomes))


def _outcome(entry: Entry, result: Stored | None) -> str:
    if result is None:
        return "malformed"
    if result.gap:
        return "lost" if entry.again else "early"
    return "stored" if result.lines else "known"


def _measure(results: Sequence[Stored], seconds: float) -> None:
    count = sum(len(result.lines) for result in results)
    metrics.store_seconds.observe(seconds)
    if not count:
        return
    metrics.store_events.inc(count)
    metrics.store_batch_events.observe(count)
    newest = next(result.lines[-1] for result in reversed(results) if result.lines)
    metrics.store_lag_seconds.observe(max(0, now_us() - orjson.loads(newest)["at"]) / 1e6)


def _tell(redis: Redis, results: Sequence[Stored]) -> None:
    """The live stream gets what is new, the journals get how far they are stored.

    A batch without news was handled before, by somebody who may have died before this.
    """
    pipe = redis.pipeline(transaction=False)
    for result in results:
        if result.lines:
            publish(pipe, sandbox_id=result.sandbox_id, first=result.first, lines=result.lines)
        elif not result.gap:
            poke(pipe, sandbox_id=result.sandbox_id, head=result.head)
    if news := {result.sandbox_id for result in results if result.lines}:
        index_later(pipe, news)
    for last in {item.sandbox_id: item for item in results}.values():
        tell_stored(pipe, sandbox_id=last.sandbox_id, position=last.position, gap=last.gap)
    pipe.execute()


def _rewind(redis: Redis, results: Sequence[Stored]) -> None:
    """Records are missing in Redis for good: have the journal ship from what is stored."""
    for result in results:
        log.warning("Records of %s are missing in Redis; asking again", result.sandbox_id)
        redis.hset(cursor_key(result.sandbox_id), "shipped", result.position)


def _acknowledge(redis: Redis, entries: Sequence[Entry]) -> None:
    ids: dict[int, list[bytes]] = {}
    for entry in entries:
        ids.setdefault(entry.shard, []).append(entry.id)
    pipe = redis.pipeline(transaction=False)
    for shard, done in ids.items():
        pipe.xack(shard_key(shard), GROUP, *done)
        pipe.xdel(shard_key(shard), *done)
    if ids:
        pipe.execute()
