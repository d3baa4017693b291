"""One reader of the live stream per ASGI process, and bounded queues for those who watch.

An event is rendered once for all its viewers, and only when somebody watches its sandbox. What a
viewer cannot take is dropped here and read from PostgreSQL later; nothing waits for anybody.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from contextvars import Context
from typing import Any, Final
from weakref import WeakKeyDictionary

import orjson
from django.conf import settings
from django.db import Error as DatabaseError
from redis.asyncio import Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from timeline import metrics
from timeline.events import Event, NewEvent
from timeline.frames import Rows, rows
from timeline.log import LIVE, is_cancelled
from timeline.pages import heads

QUEUE_UNITS: Final = 256 * 1024
#: What comes is gathered between two frames of a sandbox: twice as long as giving the last
#: one took, so that a crowd costs a third of the loop at most, within these bounds.
LEAST_GATHER_SECONDS: Final = 0.005
MOST_GATHER_SECONDS: Final = 0.03
_GATHER_TIMES: Final = 2
VERIFY_SECONDS: Final = 10.0
GRACE_SECONDS: Final = 0.5
_ENTRIES: Final = 100
_BLOCK_MS: Final = 1000
_LONGEST_PAUSE: Final = 2.0

Heads = Callable[[Sequence[str]], Awaitable[Mapping[str, int]]]

log = logging.getLogger(__name__)


Take = Callable[[Rows], bool]


class Subscription:
    """One viewer's queue of rows; ``edge`` is the last ``seq`` that is known to be stored."""

    def __init__(self, *, edge: int = 0) -> None:
        self.edge = edge
        self._queue: deque[Rows] = deque()
        self._units = 0
        self._behind = False
        self._stirred = asyncio.Event()
        self._take: Take | None = None

    async def next(self, take: Take | None = None) -> Rows | None:
        """The next rows; None when the viewer should compare what it holds with ``edge``.

        ``take`` is offered what comes meanwhile, and says whether it took it: then nobody has to
        be woken. What it does not take is queued, and so is all that comes behind it.
        """
        while not self._queue and not self._behind:
            self._stirred.clear()
            self._take = take
            try:
                await self._stirred.wait()
            finally:
                self._take = None
        if self._queue:
            frame = self._queue.popleft()
            self._units -= frame.units
            return frame
        self._behind = False
        return None

    @property
    def behind(self) -> bool:
        """Whether rows were dropped that the viewer will have to read from PostgreSQL."""
        return self._behind

    def offer(self, frame: Rows) -> None:
        """Queue rows. A viewer that does not keep up loses its queue instead of growing it."""
        self.edge = max(self.edge, frame.last)
        if self._take is not None and self._take(frame):
            return
        if not self._behind and self._units + frame.units <= QUEUE_UNITS:
            self._queue.append(frame)
            self._units += frame.units
            self._stir()
        else:
            if not self._behind:
                metrics.hub_drops.inc()
            self.look()

    def look(self, edge: int = 0) -> None:
        """Have the viewer go to PostgreSQL for whatever is between it and the edge."""
        self.edge = max(self.edge, edge)
        self._queue.clear()
        self._units = 0
        self._behind = True
        self._stir()

    def _stir(self) -> None:
        self._take = None
        self._stirred.set()


class _Feed:
    """The viewers of one sandbox, and what came for them since they were last given rows."""

    def __init__(self, sandbox_id: str) -> None:
        self.sandbox_id = sandbox_id
        self.viewers: set[Subscription] = set()
        self.pending: list[tuple[int, bytes]] = []
        self.timer: asyncio.TimerHandle | None = None
        self.edge = 0
        self._due = 0.0

    def take(self, seq: int, lines: bytes | None) -> None:
        """An entry of the live stream. The first after a pause goes out at once."""
        if lines is None:
            self.look(seq)
            return
        self.pending.append((seq, lines))
        if self.timer is None:
            loop = asyncio.get_running_loop()
            self.timer = loop.call_at(max(self._due, loop.time()), self._give)

    def look(self, edge: int) -> None:
        """The log ends at ``edge``; whoever holds less goes to PostgreSQL."""
        if edge > self.edge:
            self.edge = edge
            for viewer in self.viewers:
                viewer.look(edge)

    def _give(self) -> None:
        self.timer = None
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._give_pending()
        ended = loop.time()
        gather = max(LEAST_GATHER_SECONDS, _GATHER_TIMES * (ended - began))
        self._due = ended + min(gather, MOST_GATHER_SECONDS)

    def _give_pending(self) -> None:
        pending, self.pending = self.pending, []
        if all(viewer.behind for viewer in self.viewers):
            last = max(seq + lines.count(b"\n") for seq, lines in pending)
            self.look(last)
            return
        for run in _runs(self.sandbox_id, pending):
            for frame in _frames(run):
                self.edge = max(self.edge, frame.last)
                for viewer in self.viewers:
                    viewer.offer(frame)


class Hub:
    """Reads the live stream while anybody subscribes. Belongs to one event loop."""

    def __init__(self, redis_url: str, *, heads: Heads) -> None:
        self._redis_url = redis_url
        self._heads = heads
        self._feeds: dict[str, _Feed] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._doubt = asyncio.Event()

    @contextmanager
    def subscribe(self, sandbox_id: str) -> Iterator[Subscription]:
        """Follow one sandbox. Whatever is stored from now on is queued, or noticed as missing."""
        feed = self._feeds.get(sandbox_id)
        if feed is None:
            feed = self._feeds[sandbox_id] = _Feed(sandbox_id)
            metrics.hub_sandboxes.inc()
        viewer = Subscription(edge=feed.edge)
        feed.viewers.add(viewer)
        if not self._tasks:
            # A context of their own: these outlive the viewer who happened to be first.
            self._tasks = [
                asyncio.create_task(work, context=Context())
                for work in (self._read_forever(), self._verify_forever())
            ]
        metrics.hub_viewers.inc()
        try:
            yield viewer
        finally:
            metrics.hub_viewers.dec()
            feed.viewers.discard(viewer)
            if not feed.viewers:
                self._drop(feed)

    def _drop(self, feed: _Feed) -> None:
        if feed.timer is not None:
            feed.timer.cancel()
        if self._feeds.pop(feed.sandbox_id, None) is not None:
            metrics.hub_sandboxes.dec()
        if not self._feeds:
            for task in self._tasks:
                task.cancel()
            self._tasks = []

    async def _read_forever(self) -> None:
        pause = 0.0
        while not is_cancelled():
            try:
                redis = Redis.from_url(
                    self._redis_url, socket_timeout=10, protocol=2, retry=Retry(NoBackoff(), 0)
                )
                async with redis:
                    await self._follow(redis)
            except (RedisError, OSError) as error:
                metrics.hub_failures.inc()
                if not pause:
                    log.warning("Live timelines wait for Redis: %s", error)
                pause = min(max(0.05, pause * 2), _LONGEST_PAUSE)
            except Exception:
                metrics.hub_failures.inc()
                log.exception("The reader of live events failed and starts again")
                pause = _LONGEST_PAUSE
            self._doubt.set()
            await asyncio.sleep(pause)

    async def _follow(self, redis: Redis) -> None:
        tip: Any = await redis.xrevrange(LIVE, count=1)
        last = tip[0][0] if tip else b"0-0"
        self._doubt.set()
        while not is_cancelled():
            reply: Any = await redis.xread({LIVE: last}, count=_ENTRIES, block=_BLOCK_MS)
            entries = reply[0][1] if reply else ()
            metrics.hub_entries.inc(len(entries))
            for entry_id, fields in entries:
                last = entry_id
                self._take(fields)
            if len(entries) == _ENTRIES:
                # Reading behind: the stream may have been trimmed in front of this reader.
                self._doubt.set()

    def _take(self, fields: Mapping[bytes, bytes]) -> None:
        try:
            feed = self._feeds.get(fields[b"s"].decode())
            if feed is not None:
                feed.take(int(fields[b"q"]), fields.get(b"e"))
        except (KeyError, ValueError):
            log.exception("An entry of the live stream was left out")

    async def _verify_forever(self) -> None:
        """Compare every watched sandbox with PostgreSQL: after any doubt, and now and then."""
        while True:
            with suppress(TimeoutError):
                async with asyncio.timeout(VERIFY_SECONDS):
                    await self._doubt.wait()
            self._doubt.clear()
            try:
                heads = await self._heads(list(self._feeds))
            except DatabaseError as error:
                log.warning("Live timelines cannot be verified: %s", error)
                self._doubt.set()
                heads = {}
            # What is merely on its way is here by then.
            await asyncio.sleep(GRACE_SECONDS)
            for sandbox_id, seq in heads.items():
                if feed := self._feeds.get(sandbox_id):
                    feed.look(seq)


def _runs(sandbox_id: str, pending: Sequence[tuple[int, bytes]]) -> Iterator[list[Event]]:
    """Events in runs without a gap; what came twice is left out."""
    run: list[Event] = []
    for first, lines in sorted(pending, key=lambda entry: entry[0]):
        for seq, line in enumerate(lines.split(b"\n"), first):
            if run and seq <= run[-1].seq:
                continue
            if run and seq > run[-1].seq + 1:
                yield run
                run = []
            new = NewEvent.from_json(orjson.loads(line))
            run.append(Event(sandbox_id, seq, new.at, new.kind, new.actor, new.span, new.data))
    if run:
        yield run


def _frames(events: list[Event]) -> Iterator[Rows]:
    while events:
        frame = rows(events)
        yield frame
        events = events[frame.last - frame.first + 1 :]


_hubs: WeakKeyDictionary[asyncio.AbstractEventLoop, Hub] = WeakKeyDictionary()


def get_hub() -> Hub:
    """The hub of the running event loop: one per ASGI process."""
    loop = asyncio.get_running_loop()
    if loop not in _hubs:
        _hubs[loop] = Hub(settings.REDIS_URL, heads=heads)
    return _hubs[loop]
