"""The shards in Redis that carry journals to PostgreSQL: keys, lines, the atomic append.

Why nothing is lost, nothing is kept twice, and no ``seq`` is given to two events:

- A sandbox's journal numbers its records with **positions**. They only ever grow; a batch says
  where it begins, how long it is, and the position right ``before`` it.
- PostgreSQL keeps, in one row per sandbox (``timeline_head``), the last ``seq`` and the last
  journal position it has. Storing a batch locks that row, leaves out what lies at or before that
  position, gives the rest the next ``seq`` numbers and moves the row, all in one transaction. So
  ``seq`` is 1, 2, 3… without a gap whoever sends what how often: nothing before that commit
  hands out numbers, hence nothing can hand one out twice. A batch whose ``before`` lies beyond
  the row's position is refused (something between was lost on the way) and asked for again.
- Redis only carries. The journal keeps every record until PostgreSQL is known to have it, and
  the script below tells the journal how far the shards really have it. After FLUSHALL, a restart
  from an older file, or a trimmed stream, that is an earlier position, the journal starts again
  from there, and what PostgreSQL had already is left out by the rule above.
- Django processes do not use the shards: ``timeline.services.events_append`` takes the next
  ``seq`` under the same row lock, inside the transaction of the change it tells about.

Keys: hash ``tl:{<sandbox id>}`` with ``shipped`` and ``stored`` (positions), streams
``tl:shard:<n>`` (fields s sandbox id, b before, i first position, n count, e lines) and
``tl:live`` (fields s, q first seq, e lines; without e it only says "q is stored").
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final
from zlib import crc32

import orjson
from redis.asyncio import Redis
from redis.exceptions import NoScriptError

from timeline.events import NewEvent

SHARDS: Final = 8
LIVE: Final = "tl:live"
CURSOR_TTL_SECONDS: Final = 7 * 24 * 3600

APPEND_LUA: Final = """
local held = redis.call('HMGET', KEYS[1], 'shipped', 'stored')
local stored = tonumber(held[2] or 0)
local shipped = math.max(tonumber(held[1] or 0), stored, tonumber(ARGV[5]))
local before, first = tonumber(ARGV[2]), tonumber(ARGV[3])
if before <= shipped and shipped < first then
  redis.call('XADD', KEYS[2], '*', 's', ARGV[1], 'b', ARGV[2], 'i', ARGV[3], 'n', ARGV[4],
             'e', ARGV[6])
  shipped = first + tonumber(ARGV[4]) - 1
  redis.call('HSET', KEYS[1], 'shipped', string.format('%.0f', shipped))
  redis.call('EXPIRE', KEYS[1], ARGV[7])
end
return {string.format('%.0f', shipped), string.format('%.0f', stored)}
"""
_STORED_LUA: Final = """
local held = redis.call('HGET', KEYS[1], 'stored')
if ARGV[2] == '1' or tonumber(ARGV[1]) > tonumber(held or 0) then
  redis.call('HSET', KEYS[1], 'stored', ARGV[1])
end
redis.call('EXPIRE', KEYS[1], ARGV[3])
"""
_APPEND_SHA: Final = hashlib.sha1(APPEND_LUA.encode(), usedforsecurity=False).hexdigest()


def shard_of(sandbox_id: str) -> int:
    """The shard that carries all of this sandbox's events, and so keeps their order."""
    return crc32(sandbox_id.encode()) % SHARDS


def shard_key(shard: int) -> str:
    """The stream of one shard."""
    return f"tl:shard:{shard}"


def cursor_key(sandbox_id: str) -> str:
    """The hash that says how far a sandbox's journal has been shipped and stored."""
    return f"tl:{{{sandbox_id}}}"


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive journal records of one sandbox, as they travel.

    ``lines`` holds ``count`` JSON events joined by newlines; the first has position ``first``,
    and ``before`` is the position of the record in front of it (0 at a journal's beginning).
    """

    sandbox_id: str
    before: int
    first: int
    count: int
    lines: bytes

    @property
    def last(self) -> int:
        """Position of the last record."""
        return self.first + self.count - 1


@dataclass(frozen=True, slots=True)
class Cursor:
    """How far Redis says a journal has come: both are positions, 0 when it knows nothing."""

    shipped: int
    stored: int


def to_line(event: NewEvent) -> bytes:
    """One event as one line of JSON without its newline; never fails on odd text.

    NUL becomes U+2400 and half a surrogate pair ``?``, because jsonb takes neither.
    """
    try:
        line = orjson.dumps(event.to_json())
    except TypeError:
        line = json.dumps(_clean(event.to_json()), ensure_ascii=False, default=str).encode()
    if b"\\u0000" in line:
        line = orjson.dumps(_clean(event.to_json()))
    return line


def _clean(value: Any) -> Any:
    if isinstance(value, str):
        return value.replace("\0", "\u2400").encode("utf-8", "replace").decode()
    if isinstance(value, dict):
        return {_clean(str(key)): _clean(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_clean(item) for item in value]
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        return str(value)
    return value


async def append(
    redis: Redis, batches: Sequence[Batch], *, floors: Sequence[int]
) -> list[Cursor | Exception]:
    """Offer one batch per sandbox to the shards, in one round trip.

    ``floors`` are positions PostgreSQL is known to have, for a Redis that forgot. A batch is
    taken when it continues what was shipped; either way its ``Cursor`` says where to go on from,
    so a lost answer, a doubled call and a Redis that forgot are all settled by the next call.
    Raises ``RedisError`` when Redis is away; a command it refused is an exception in the list.
    """
    replies = await _evaluate(redis, batches, floors)
    if any(isinstance(reply, NoScriptError) for reply in replies):
        await redis.script_load(APPEND_LUA)
        replies = await _evaluate(redis, batches, floors)
    return [
        reply if isinstance(reply, Exception) else Cursor(int(reply[0]), int(reply[1]))
        for reply in replies
    ]


async def _evaluate(redis: Redis, batches: Sequence[Batch], floors: Sequence[int]) -> list[Any]:
    pipe = redis.pipeline(transaction=False)
    for batch, floor in zip(batches, floors, strict=True):
        pipe.evalsha(
            _APPEND_SHA,
            2,
            cursor_key(batch.sandbox_id),
            shard_key(shard_of(batch.sandbox_id)),
            batch.sandbox_id,
            batch.before,
            batch.first,
            batch.count,
            floor,
            batch.lines,
            CURSOR_TTL_SECONDS,
        )
    return list(await pipe.execute(raise_on_error=False))


def tell_stored(pipe: Any, *, sandbox_id: str, position: int, gap: bool) -> None:
    """Tell the journal how far PostgreSQL has it.

    What is told only grows: of two workers that hold a lease for a while, the one that was stopped
    on the spot may come last with what was true long ago, and a journal told that would wait
    for ever. Behind a ``gap`` the position counts as it is: a database that was put back to an
    earlier state asks for what it lost, and what comes then is told again.
    """
    key = cursor_key(sandbox_id)
    pipe.eval(_STORED_LUA, 1, key, position, int(gap), CURSOR_TTL_SECONDS)


def is_cancelled() -> bool:
    """Whether this task was asked to end. A loop around Redis has to look.

    Seen with redis-py 8.1 on Python 3.11: a task cancelled while a command finishes goes on
    without a ``CancelledError``.
    """
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


async def cursors(redis: Redis, sandbox_ids: Sequence[str]) -> list[Cursor]:
    """What Redis knows of several sandboxes, in one round trip."""
    pipe = redis.pipeline(transaction=False)
    for sandbox_id in sandbox_ids:
        pipe.hmget(cursor_key(sandbox_id), "shipped", "stored")
    rows = await pipe.execute()
    return [Cursor(int(shipped or 0), int(stored or 0)) for shipped, stored in rows]
