"""Who tails which shard: keys with a short life, shared evenly between the workers that live."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from redis import Redis

from timeline.log import SHARDS

LEASE_MS: Final = 4000  # and a second until somebody looks: five until the next one tails
RENEW_SECONDS: Final = 1.0
#: A sorted set: each worker that tails, and when it last said so in milliseconds since the epoch.
WORKERS: Final = "tl:workers"

# One call renews what this worker holds, gives back what is more than its share, and takes what
# is free up to its share. Nothing relies on a lease for correctness: two workers that both
# believe in one store the same entries twice, and the second finds them stored.
_TICK: Final = """
local now = redis.call('TIME')
local ms = now[1] * 1000 + math.floor(now[2] / 1000)
local name, life = ARGV[1], tonumber(ARGV[2])
redis.call('ZADD', KEYS[1], ms, name)
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ms - life)
local share = math.ceil((#KEYS - 1) / redis.call('ZCARD', KEYS[1]))
local mine = {}
for shard = 2, #KEYS do
  if redis.call('GET', KEYS[shard]) == name then
    if #mine < share then
      redis.call('PEXPIRE', KEYS[shard], life)
      mine[#mine + 1] = shard - 2
    else
      redis.call('DEL', KEYS[shard])
    end
  end
end
for shard = 2, #KEYS do
  if #mine < share and redis.call('SET', KEYS[shard], name, 'NX', 'PX', life) then
    mine[#mine + 1] = shard - 2
  end
end
return mine
"""
_LEAVE: Final = """
redis.call('ZREM', KEYS[1], ARGV[1])
for shard = 2, #KEYS do
  if redis.call('GET', KEYS[shard]) == ARGV[1] then redis.call('DEL', KEYS[shard]) end
end
"""


def lease_key(shard: int) -> str:
    """There while a worker tails that shard."""
    return f"tl:lease:{shard}"


class Leases:
    """The leases of one worker, by its unique name."""

    def __init__(self, redis: Redis, *, name: str, shards: Iterable[int] = range(SHARDS)) -> None:
        self._name = name
        self._keys = [WORKERS, *map(lease_key, shards)]
        self._tick = redis.register_script(_TICK)
        self._leave = redis.register_script(_LEAVE)

    def tick(self) -> set[int]:
        """Renew and balance, once a second; the shards that are this worker's now."""
        return {int(shard) for shard in self._tick(keys=self._keys, args=[self._name, LEASE_MS])}

    def leave(self) -> None:
        """Let others have the shards at once."""
        self._leave(keys=self._keys, args=[self._name])
