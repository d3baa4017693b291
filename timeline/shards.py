"""The shard streams as a worker reads them: parsed entries, pending ones first."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from redis import Redis
from redis.exceptions import ResponseError

from timeline.log import Batch, shard_key

GROUP: Final = "store"
# One consumer name for all workers: what a dead worker left pending is simply ours to read again.
CONSUMER: Final = "tail"
BLOCK_MS: Final = 200
_MANY_BYTES: Final = 4 * 1024 * 1024
_FEW_BYTES: Final = 512 * 1024
_POSITIONS: Final = 2**62
_SANDBOX_ID: Final = re.compile(r"[A-Za-z0-9_.:-]{1,100}")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Entry:
    """One stream entry. ``batch`` is None for what is no batch of ours, or was deleted."""

    shard: int
    id: bytes
    batch: Batch | None
    again: bool


class Shards:
    """Reads the leased shards with a consumer group. Raises ``RedisError`` when Redis is away."""

    def __init__(self, redis: Redis) -> None:
        self._redis = redis
        self._mine: set[int] = set()
        self._again: set[int] = set()
        self._count = 64

    def follow(self, shards: set[int]) -> None:
        """Read these from now on; of new ones, first what was read before and not acknowledged."""
        for shard in shards - self._mine:
            self._join(shard)
        self._again = (self._again & shards) | (shards - self._mine)
        self._mine = shards

    def reread(self, shards: Iterable[int]) -> None:
        """Begin with the pending entries of these once more."""
        self._again |= self._mine.intersection(shards)

    def read(self) -> list[Entry]:
        """Entries in order within each shard; waits up to 200 ms for the first."""
        again = bool(self._again)
        streams: dict[Any, Any] = {
            shard_key(shard): "0" if again else ">"
            for shard in sorted(self._again if again else self._mine)
        }
        block = None if again else BLOCK_MS
        reply = self._redis.xreadgroup(GROUP, CONSUMER, streams, count=self._count, block=block)
        return self._parse(reply or [], again=again)

    def _parse(self, reply: Any, *, again: bool) -> list[Entry]:
        entries: list[Entry] = []
        most = size = 0
        for key, items in reply:
            shard = int(key.rpartition(b":")[2])
            if again and not items:
                self._again.discard(shard)
            most = max(most, len(items))
            for entry_id, fields in items:
                batch = parse(fields or {})
                size += len(batch.lines) if batch else 0
                entries.append(Entry(shard, entry_id, batch, again))
        self._pace(most, size)
        return entries

    def _pace(self, most: int, size: int) -> None:
        """Few entries when they are large, many when they are small: bounded memory."""
        if size > _MANY_BYTES:
            self._count = max(4, self._count // 2)
        elif most == self._count and size < _FEW_BYTES:
            self._count = min(512, self._count * 2)

    def _join(self, shard: int) -> None:
        try:
            self._redis.xgroup_create(shard_key(shard), GROUP, id="0", mkstream=True)
        except ResponseError as error:
            if "BUSYGROUP" not in str(error):
                raise


def parse(fields: Mapping[bytes, bytes]) -> Batch | None:
    """The batch of a stream entry, or None (and a line in the log) when it is none."""
    if not fields:
        return None
    try:
        batch = Batch(
            fields[b"s"].decode(),
            int(fields[b"b"]),
            int(fields[b"i"]),
            int(fields[b"n"]),
            fields[b"e"],
        )
    except (KeyError, ValueError):
        batch = None
    if batch and _SANDBOX_ID.fullmatch(batch.sandbox_id) and _is_sound(batch):
        return batch
    log.error("An entry that is no batch of events was left out: %.200r", fields)
    return None


def _is_sound(batch: Batch) -> bool:
    return 0 <= batch.before < batch.first < _POSITIONS and 0 < batch.count <= len(batch.lines)
