"""What is looked up when somebody asks: the shards in Redis, sandboxes and heads in PostgreSQL."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from redis.asyncio import Redis
from redis.exceptions import ResponseError

from sandboxes.selectors import counts_by_state
from timeline.leases import lease_key
from timeline.log import LIVE, SHARDS, shard_key
from timeline.shards import GROUP


@dataclass(frozen=True, slots=True)
class Shard:
    """Entries of one stream: all there are, those read and not acknowledged, and how old."""

    entries: int = 0
    pending: int = 0
    oldest_seconds: float = 0.0
    is_leased: bool = False


@dataclass(slots=True, eq=False)
class Found:
    """What each part said; a part that did not answer is in ``parts`` as False and else absent."""

    parts: dict[str, bool] = field(default_factory=dict)
    shards: Mapping[int, Shard] = field(default_factory=dict)
    live_entries: int | None = None
    sandboxes: Mapping[str, int] = field(default_factory=dict)

    def collect(self) -> Iterable[Metric]:
        """As Prometheus' client calls it."""
        yield _family("part_up", "Whether a part of the platform answers.", "part", self.parts)
        if self.live_entries is not None:
            yield from self._of_redis()
        if self.parts.get("postgres"):
            yield _family(
                "sandboxes", "Sandboxes that are not over, by state.", "state", self.sandboxes
            )

    def _of_redis(self) -> Iterable[Metric]:
        yield GaugeMetricFamily(
            "orkestr_live_stream_entries", "Entries the live stream holds.", value=self.live_entries
        )
        for name, text, attribute in _OF_SHARD:
            values = {str(n): float(getattr(shard, attribute)) for n, shard in self.shards.items()}
            yield _family(name, text, "shard", values)


_OF_SHARD: Final = (
    ("shard_entries", "Batches in a shard that are not stored and acknowledged.", "entries"),
    ("shard_pending_entries", "Those of them that a worker has read.", "pending"),
    ("shard_lag_seconds", "Age of the oldest batch in a shard; 0 without one.", "oldest_seconds"),
    ("shard_leased", "Whether a worker tails a shard.", "is_leased"),
)


def _family(name: str, text: str, label: str, values: Mapping[str, Any]) -> GaugeMetricFamily:
    family = GaugeMetricFamily(f"orkestr_{name}", text, labels=[label])
    for key, value in values.items():
        family.add_metric([key], float(value))
    return family


async def look_at_redis(redis: Redis, found: Found) -> None:
    """Raises ``RedisError`` when Redis is away."""
    found.shards = {shard: await _shard(redis, shard) for shard in range(SHARDS)}
    found.live_entries = await redis.xlen(LIVE)


async def _shard(redis: Redis, shard: int) -> Shard:
    key = shard_key(shard)
    oldest: Any = await redis.xrange(key, count=1)
    return Shard(
        entries=await redis.xlen(key),
        pending=await _pending(redis, key),
        oldest_seconds=_age(oldest[0][0]) if oldest else 0.0,
        is_leased=bool(await redis.exists(lease_key(shard))),
    )


async def _pending(redis: Redis, key: str) -> int:
    try:
        answer: Any = await redis.xpending(key, GROUP)
    except ResponseError:
        return 0  # nobody has read this shard yet
    return int(answer["pending"])


def _age(entry_id: bytes) -> float:
    return max(0.0, time.time() - int(entry_id.partition(b"-")[0]) / 1000)


def look_at_postgres(found: Found) -> None:
    """Raises ``django.db.Error`` when PostgreSQL is away."""
    found.sandboxes = counts_by_state()
