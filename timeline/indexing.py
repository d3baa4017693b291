"""Fills the index of words behind what is stored, so that storing itself costs nothing more.

Whoever stores events puts the sandbox into a set of Redis; a task takes it from there and indexes
whole blocks. Nothing is lost with that set: search reads what is not indexed by itself, and
puts the sandbox there again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from django.conf import settings
from django.db import connection
from redis.exceptions import RedisError

from timeline.live import client
from timeline.selectors import last_seq
from timeline.stretches import count_stretches
from timeline.words import mark_of, text_of, words_of

DUE: Final = "timeline:unindexed"
BLOCK_EVENTS: Final = 64
BLOCK_CHARACTERS: Final = 128 * 1024
_BLOCK_WORDS: Final = 12_000  # a tsvector holds a mebibyte
_PAGE: Final = 2048
_SANDBOXES: Final = 100
_NEXT = """
    SELECT seq, kind, data FROM timeline_event
    WHERE sandbox_id = %(id)s AND seq > %(after)s ORDER BY seq LIMIT %(limit)s
"""
_KEEP = """
    INSERT INTO timeline_words (sandbox_id, first, last, words)
    VALUES (%s, %s, %s, array_to_tsvector(%s::text[])) ON CONFLICT DO NOTHING
"""

log = logging.getLogger(__name__)


@dataclass(slots=True)
class _Block:
    first: int
    last: int = 0
    characters: int = 0
    texts: list[str] = field(default_factory=list)

    def add(self, seq: int, text: str) -> None:
        self.last = seq
        self.characters += len(text)
        self.texts.append(text)

    @property
    def is_full(self) -> bool:
        return len(self.texts) >= BLOCK_EVENTS or self.characters >= BLOCK_CHARACTERS

    def lexemes(self, mark: str) -> str:
        """Its words as an array of PostgreSQL's; letters and digits need no quotes there."""
        words = words_of("\n".join(self.texts))
        return "{" + ",".join([mark + word for word in words][:_BLOCK_WORDS]) + "}"


def index_later(pipe: Any, sandbox_ids: Iterable[str]) -> None:
    """There may be something new of these to index."""
    pipe.sadd(DUE, *sandbox_ids)


def index_due(*, seconds: float = 1.5) -> None:
    """Index the sandboxes that are due, for about that long; the rest stays due."""
    redis, deadline = client(settings.REDIS_URL), time.monotonic() + seconds
    due: list[bytes] = redis.spop(DUE, _SANDBOXES)  # type: ignore[assignment]
    unfinished = [name for name in due if not _index(name.decode(), deadline)]
    if unfinished:
        redis.sadd(DUE, *unfinished)


def ask_for_index(sandbox_id: str) -> None:
    """From somebody who found much of a sandbox without an index."""
    try:
        index_later(client(settings.REDIS_URL), [sandbox_id])
    except RedisError as error:
        log.warning("%s is indexed later, Redis is away: %s", sandbox_id, error)


def indexed_to(sandbox_id: str) -> int:
    """The last ``seq`` that the index has; 0 for none."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT max(last) FROM timeline_words WHERE sandbox_id = %s", [sandbox_id])
        row = cursor.fetchone()
    return int(row[0] or 0)


def _index(sandbox_id: str, deadline: float) -> bool:
    """Whether all whole blocks are indexed now, and all whole stretches counted."""
    newest = last_seq(sandbox_id=sandbox_id)
    if not count_stretches(sandbox_id, newest=newest, deadline=deadline):
        return False
    after = indexed_to(sandbox_id)
    while time.monotonic() < deadline:
        blocks = _blocks(sandbox_id, after)
        _keep(sandbox_id, blocks)
        if not blocks or blocks[-1].last - after < _PAGE // 2:
            return True
        after = blocks[-1].last
    return False


def _blocks(sandbox_id: str, after: int) -> list[_Block]:
    """The whole blocks of the next page of events."""
    with connection.cursor() as cursor:
        cursor.execute(_NEXT, {"id": sandbox_id, "after": after, "limit": _PAGE})
        rows = cursor.fetchall()
    blocks: list[_Block] = []
    block = _Block(after + 1)
    for seq, kind, data in rows:
        block.add(seq, text_of(kind, orjson.loads(data)))
        if block.is_full:
            blocks.append(block)
            block = _Block(seq + 1)
    return blocks


def _keep(sandbox_id: str, blocks: Sequence[_Block]) -> None:
    """Two workers at the same sandbox make the same blocks, of which one is kept."""
    mark = mark_of(sandbox_id)
    rows = [(sandbox_id, one.first, one.last, one.lexemes(mark)) for one in blocks]
    if rows:
        with connection.cursor() as cursor:
            cursor.executemany(_KEEP, rows)
