"""The one task of a host that moves all its journals to Redis."""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from timeline import shipping
from timeline.journal import BATCH_EVENTS, Journal
from timeline.log import Batch, Cursor, append, cursors, is_cancelled

ROUND_BYTES: Final = 4 * 1024 * 1024
JOURNAL_WINDOW: Final = 8 * 1024 * 1024
WINDOW: Final = 128 * 1024 * 1024
_LONGEST_PAUSE: Final = 2.0
_SOON: Final = 0.02
#: Between two rounds while they are small: one carries what a hundred journals got meanwhile.
GATHER_SECONDS: Final = 0.005

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False)
class _Track:
    """One journal on its way: positions, and how many bytes Redis holds that PostgreSQL may not.

    ``flying`` has (last position, bytes) of each batch that is shipped and not known as stored.
    """

    journal: Journal
    shipped: int
    flying: deque[tuple[int, int]] = field(default_factory=deque)
    flying_bytes: int = 0
    leaving: bool = False

    @property
    def drained(self) -> bool:
        return self.shipped >= self.journal.last

    @property
    def settled(self) -> bool:
        return self.journal.stored >= self.journal.last

    def took_off(self, batch: Batch) -> None:
        self.flying.append((batch.last, len(batch.lines)))
        self.flying_bytes += len(batch.lines)

    def landed(self, stored: int) -> int:
        """Forget what is stored; returns how many bytes that frees."""
        freed = 0
        while self.flying and self.flying[0][0] <= stored:
            freed += self.flying.popleft()[1]
        self.flying_bytes -= freed
        return freed

    def fell(self) -> int:
        """Redis forgot what it was given: nothing is on its way any more."""
        freed, self.flying_bytes = self.flying_bytes, 0
        self.flying.clear()
        return freed


@dataclass(frozen=True, slots=True)
class Backlog:
    """Events that are ``waiting`` for Redis and that are ``unstored``, as far as is known.

    ``blocked`` journals wait for room in their window of what Redis may hold.
    """

    journals: int
    waiting: int
    unstored: int
    blocked: int
    flying_bytes: int


class Shipper:
    """Ships every added journal in order, whatever Redis does meanwhile.

    Memory is bounded: records are read from the files when they can leave. What Redis holds is
    bounded too (8 MiB a journal, 128 MiB in all are unstored at a time); with PostgreSQL away the
    rest waits on the disk. One loop owns a shipper; journals may be appended to from any thread.
    """

    def __init__(self, redis_url: str, *, poll_seconds: float = 1.0) -> None:
        self._url = redis_url
        self._poll_seconds = poll_seconds
        self._tracks: dict[str, _Track] = {}
        self._ready: dict[str, None] = {}  # ids with something to ship, in turn
        self._blocked: set[str] = set()  # ids that wait for room in their window
        self._flying_bytes = 0
        self._loop: asyncio.AbstractEventLoop | None = None
        self._woken = asyncio.Event()
        self._moved = asyncio.Condition()
        self._next_poll = 0.0
        self._next_round = 0.0

    @property
    def flying_bytes(self) -> int:
        """How much Redis holds that PostgreSQL is not known to have."""
        return self._flying_bytes

    def backlog(self) -> Backlog:
        """What is still on its way, over all journals; counted anew, so not for every event."""
        tracks = tuple(self._tracks.values())
        return Backlog(
            journals=len(tracks),
            waiting=sum(max(0, track.journal.last - track.shipped) for track in tracks),
            unstored=sum(max(0, track.journal.last - track.journal.stored) for track in tracks),
            blocked=len(self._blocked),
            flying_bytes=self._flying_bytes,
        )

    def add(self, journal: Journal) -> None:
        """Ship what this journal holds and whatever is appended to it from now on."""
        self._tracks[journal.sandbox_id] = _Track(journal, shipped=journal.stored)
        journal.on_append = partial(self._appended, journal.sandbox_id)
        self._appended(journal.sandbox_id)

    def remove(self, sandbox_id: str) -> None:
        """Delete this journal as soon as PostgreSQL has all of it. Nothing is appended any more."""
        if track := self._tracks.get(sandbox_id):
            track.leaving = True
            self._delete_if_settled(track)

    async def drained(self, sandbox_id: str, timeout: float) -> bool:  # noqa: ASYNC109
        """Wait until all of it is in Redis. False when the time is over; True for an unknown id."""
        return await self._until(sandbox_id, lambda track: track.drained, timeout)

    async def settled(self, sandbox_id: str, timeout: float) -> bool:  # noqa: ASYNC109
        """Wait until all of it is in PostgreSQL; noticed within ``poll_seconds``."""
        return await self._until(sandbox_id, lambda track: track.settled, timeout)

    async def _until(
        self, sandbox_id: str, reached: Callable[[_Track], bool], seconds: float
    ) -> bool:
        def there() -> bool:
            track = self._tracks.get(sandbox_id)
            return track is None or reached(track)

        try:
            async with asyncio.timeout(seconds), self._moved:
                await self._moved.wait_for(there)
        except TimeoutError:
            return False
        return True

    async def run(self) -> None:
        """Until cancelled. Redis away: tries again with growing pauses, up to two seconds."""
        self._loop = asyncio.get_running_loop()
        redis = Redis.from_url(self._url, socket_timeout=5, retry=Retry(NoBackoff(), 0))
        pause = 0.0
        try:
            while not is_cancelled():
                try:
                    await self._wait()
                    await self._round(redis)
                    pause = 0.0
                except (RedisError, OSError) as error:
                    shipping.failures.inc()
                    if not pause:
                        log.warning("Redis takes no events, the journals keep them: %s", error)
                    pause = min(max(0.05, pause * 2), _LONGEST_PAUSE)
                    await asyncio.sleep(pause)
        finally:
            await redis.aclose()

    def _appended(self, sandbox_id: str) -> None:
        if sandbox_id in self._ready or sandbox_id in self._blocked:
            return
        self._ready[sandbox_id] = None
        if self._loop is None:
            return
        try:
            here = asyncio.get_running_loop() is self._loop
        except RuntimeError:
            here = False
        if here:
            self._woken.set()
        else:
            self._loop.call_soon_threadsafe(self._woken.set)

    async def _wait(self) -> None:
        """For an append, or for the time to ask Redis how far storing has come."""
        if self._ready:
            now = asyncio.get_running_loop().time()
            await asyncio.sleep(max(0.0, min(self._next_round - now, GATHER_SECONDS)))
            return
        due = self._next_poll - asyncio.get_running_loop().time()
        if due <= 0:
            return
        self._woken.clear()
        try:
            async with asyncio.timeout(min(due, _SOON) if self._blocked else due):
                await self._woken.wait()
        except TimeoutError:
            return
        if (early := self._next_round - asyncio.get_running_loop().time()) > 0:
            await asyncio.sleep(min(early, GATHER_SECONDS))

    async def _round(self, redis: Redis) -> None:
        batches = self._collect()
        if batches:
            is_small = all(batch.count < BATCH_EVENTS for batch in batches)
            now = asyncio.get_running_loop().time()
            self._next_round = now + GATHER_SECONDS if is_small else now
            floors = [self._tracks[batch.sandbox_id].journal.stored for batch in batches]
            began = time.perf_counter()
            try:
                replies = await append(redis, batches, floors=floors)
            except BaseException:
                self._ready.update(dict.fromkeys(batch.sandbox_id for batch in batches))
                raise
            shipping.round_seconds.observe(time.perf_counter() - began)
            await self._settle(batches, replies)
        now = asyncio.get_running_loop().time()
        if self._blocked or now >= self._next_poll:
            self._next_poll = now + self._poll_seconds
            await self._poll(redis)

    def _collect(self) -> list[Batch]:
        """One batch from each ready journal in turn, until the round is full."""
        batches: list[Batch] = []
        size = 0
        for sandbox_id in list(self._ready):
            if size >= ROUND_BYTES:
                break
            del self._ready[sandbox_id]
            track = self._tracks.get(sandbox_id)
            if track is None:
                continue
            if track.flying_bytes >= JOURNAL_WINDOW or self._flying_bytes + size >= WINDOW:
                self._blocked.add(sandbox_id)
            elif batch := self._read(track):
                batches.append(batch)
                size += len(batch.lines)
        return batches

    def _read(self, track: _Track) -> Batch | None:
        try:
            return track.journal.read(after=track.shipped)
        except OSError:
            log.exception("The journal of %s cannot be read", track.journal.sandbox_id)
            return None

    async def _settle(self, batches: list[Batch], replies: list[Cursor | Exception]) -> None:
        """Go on from where Redis says each journal is; the first refusal is raised at the end."""
        refusal: Exception | None = None
        for batch, reply in zip(batches, replies, strict=True):
            track = self._tracks.get(batch.sandbox_id)
            if track is None:
                continue
            if isinstance(reply, Exception):
                refusal = refusal or reply
            else:
                if reply.shipped == batch.last:
                    track.took_off(batch)
                    _count(batch)
                    self._flying_bytes += len(batch.lines)
                self._follow(track, reply)
            if not track.drained:
                self._ready[batch.sandbox_id] = None
        await self._announce()
        if refusal is not None:
            raise refusal

    def _follow(self, track: _Track, cursor: Cursor) -> None:
        stored = min(cursor.stored, track.journal.last)
        if cursor.shipped < track.shipped:
            log.warning("Redis lost events of %s; shipping again", track.journal.sandbox_id)
            shipping.restarts.inc()
            self._flying_bytes -= track.fell()
        track.shipped = max(cursor.shipped, stored, track.journal.stored)
        if stored > track.journal.stored:
            track.journal.reclaim(stored=stored)
        self._flying_bytes -= track.landed(track.journal.stored)

    async def _poll(self, redis: Redis) -> None:
        """Ask about journals with records under way: what is stored, and did Redis forget any."""
        waiting = [track for track in self._tracks.values() if not track.settled]
        if not waiting:
            return
        answers = await cursors(redis, [track.journal.sandbox_id for track in waiting])
        for track, cursor in zip(waiting, answers, strict=True):
            self._follow(track, cursor)
            if not track.drained:
                self._ready[track.journal.sandbox_id] = None
            if track.leaving:
                self._delete_if_settled(track)
        self._blocked.clear()
        await self._announce()

    def _delete_if_settled(self, track: _Track) -> None:
        if track.settled:
            self._flying_bytes -= track.fell()
            track.journal.on_append = None
            track.journal.delete()
            self._tracks.pop(track.journal.sandbox_id, None)

    async def _announce(self) -> None:
        async with self._moved:
            self._moved.notify_all()


def _count(batch: Batch) -> None:
    shipping.events.inc(batch.count)
    shipping.size.inc(len(batch.lines))
    shipping.batch_events.observe(batch.count)
