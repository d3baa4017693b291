"""The live stream: what is stored is told here, to whoever watches."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from timeline import metrics
from timeline.log import LIVE

LIVE_ENTRIES = 1000  # times ENTRY_BYTES is what the stream may take in Redis
ENTRY_BYTES = 64 * 1024


def publish(pipe: Any, *, sandbox_id: str, first: int, lines: Sequence[bytes]) -> None:
    """Tell watchers of events that are stored, in entries of at most 64 KiB (or one event)."""
    for seq, part in _parts(first, lines):
        fields = {"s": sandbox_id, "q": seq, "e": b"\n".join(part)}
        pipe.xadd(LIVE, fields, maxlen=LIVE_ENTRIES, approximate=True)
        metrics.live_entries.inc()


def poke(pipe: Any, *, sandbox_id: str, head: int) -> None:
    """Tell watchers where the log ends, for when it is not known whether they heard."""
    pipe.xadd(LIVE, {"s": sandbox_id, "q": head}, maxlen=LIVE_ENTRIES, approximate=True)
    metrics.live_entries.inc()


def _parts(first: int, lines: Sequence[bytes]) -> Iterator[tuple[int, Sequence[bytes]]]:
    start = size = 0
    for index, line in enumerate(lines):
        if index > start and size + len(line) > ENTRY_BYTES:
            yield first + start, lines[start:index]
            start, size = index, 0
        size += len(line)
    if lines:
        yield first + start, lines[start:]


@cache
def client(redis_url: str) -> Redis:
    """A connection pool of this process for short commands; gives up after two seconds."""
    return Redis.from_url(redis_url, socket_timeout=2, retry=Retry(NoBackoff(), 0))
