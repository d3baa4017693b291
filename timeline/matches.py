"""Pages of a timeline that is narrowed: by kind, by who, by how it ended, by text.

Every page is bounded, however long the log is and however rare what is looked for: it says up to
where it looked (``Found.first`` and ``.last``), and the next page goes on from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import orjson
from django.db import connection, transaction
from django.db.models import BooleanField, QuerySet
from django.db.models.expressions import RawSQL

from timeline.events import BEGINNINGS, ENDINGS, OUTPUT_KINDS, Actor, Event
from timeline.filters import FAILED, NO_OUTPUT, Filter
from timeline.indexing import BLOCK_EVENTS, ask_for_index, indexed_to
from timeline.models import EventRow
from timeline.selectors import event_of, event_of_columns, events_of_kinds, last_seq
from timeline.words import Terms

PAGE: Final = 60
ACTORS: Final = 50
_BLOCKS: Final = 24  # looked into for one page
_CANDIDATES: Final = 600  # events looked at one by one
_NEAR: Final = 40  # read before the index is asked
_WINDOW: Final = 20_000  # events that one page reads where no index helps

_KEY: Final = "COALESCE(actor ->> 'id', actor ->> 'type')"
# Common words are in the nearest blocks, of which few are read; for others the index is asked, by
# words alone, which are the sandbox's own (``words.mark_of``).
_BLOCKS_NEAR: Final = """
    SELECT first, last, words @@ %(query)s::tsquery FROM timeline_words
    WHERE sandbox_id = %(id)s AND last > %(above)s AND first < %(below)s
    ORDER BY last {order} LIMIT %(limit)s
"""
_BLOCKS_ALL: Final = """
    WITH hit AS MATERIALIZED (
        SELECT sandbox_id, first, last FROM timeline_words WHERE words @@ %(query)s::tsquery
    )
    SELECT first, last FROM hit
    WHERE sandbox_id = %(id)s AND last > %(above)s AND first < %(below)s
    ORDER BY last {order} LIMIT %(limit)s
"""
_LOOK: Final = """
    SELECT e.seq, e.at, e.kind, e.actor, e.span, e.data
    FROM unnest(%(firsts)s::bigint[], %(lasts)s::bigint[]) AS part (first, last)
    CROSS JOIN LATERAL (
        SELECT * FROM timeline_event
        WHERE sandbox_id = %(id)s AND seq BETWEEN part.first AND part.last
            AND (lower(data::text) LIKE ALL (%(words)s::text[])
                -- a colour may begin in the middle of a word
                OR strpos(data::text, '\\u001b') > 0)
        OFFSET 0  -- keeps the planner from walking the whole log for these few parts of it
    ) AS e ORDER BY e.seq {order} LIMIT %(limit)s
"""
_ACTORS: Final = f"""
    WITH RECURSIVE each AS (
        (SELECT {_KEY} AS key FROM timeline_event
            WHERE sandbox_id = %(id)s AND {NO_OUTPUT} ORDER BY 1 LIMIT 1)
        UNION ALL
        SELECT (SELECT {_KEY} FROM timeline_event
            WHERE sandbox_id = %(id)s AND {NO_OUTPUT} AND {_KEY} > each.key
            ORDER BY 1 LIMIT 1)
        FROM each WHERE each.key IS NOT NULL
    )
    SELECT (SELECT actor FROM timeline_event WHERE sandbox_id = %(id)s
        AND {NO_OUTPUT} AND {_KEY} = each.key ORDER BY seq DESC LIMIT 1)
    FROM each WHERE each.key IS NOT NULL LIMIT %(limit)s
"""  # noqa: S608 - a constant of this module


@dataclass(frozen=True, slots=True)
class Found:
    """What matches among the events ``first``…``last``, oldest first."""

    events: list[Event]
    first: int
    last: int


def found_before(
    *, sandbox_id: str, wanted: Filter, before: int | None = None, limit: int = PAGE
) -> Found:
    """The newest that match, or the newest in front of a ``seq``."""
    end = (last_seq(sandbox_id=sandbox_id) + 1 if before is None else before) - 1
    if wanted.terms.parts:
        return _searched(sandbox_id, wanted, 1, end, newest=True, limit=limit)
    events = _walked(sandbox_id, wanted, first=1, last=end, newest=True, limit=limit)[::-1]
    return Found(events, events[0].seq if len(events) == limit else 1, end)


def found_after(*, sandbox_id: str, wanted: Filter, after: int, limit: int = PAGE) -> Found:
    """Those behind a ``seq``."""
    end = max(after, last_seq(sandbox_id=sandbox_id))
    if wanted.terms.parts:
        return _searched(sandbox_id, wanted, after + 1, end, newest=False, limit=limit)
    events = _walked(sandbox_id, wanted, first=after + 1, last=end, newest=False, limit=limit)
    return Found(events, after + 1, events[-1].seq if len(events) == limit else end)


def actors_of(sandbox_id: str) -> list[Actor]:
    """Who did anything in a sandbox, as last known; fifty at most. One index step for each."""
    with connection.cursor() as cursor:
        cursor.execute(_ACTORS, {"id": sandbox_id, "limit": ACTORS})
        return [Actor.from_json(orjson.loads(row[0])) for row in cursor.fetchall()]


# ---- without text: one walk along an index -------------------------------------------------------


def _walked(
    sandbox_id: str, wanted: Filter, *, first: int, last: int, newest: bool, limit: int
) -> list[Event]:
    """Output is never among them: its command stands for it."""
    rows = EventRow.objects.filter(sandbox_id=sandbox_id, seq__gte=first, seq__lte=last)
    order = "-seq" if newest else "seq"
    kinds = [kind.value for kind in BEGINNINGS] if wanted.show == "commands" else wanted.kinds
    if wanted.show == "failed":
        rows = rows.filter(_true(FAILED))
    if wanted.actor:
        rows = rows.filter(_true(f"{_KEY} = %s", wanted.actor), _true(NO_OUTPUT))
        rows = rows.filter(kind__in=kinds) if kinds else rows
    elif kinds:
        return events_of_kinds(rows, kinds=kinds, limit=limit, order=order)
    return [event_of(row) for row in rows.order_by(order)[:limit]]


def _true(condition: str, *params: str) -> RawSQL:
    """A condition that an index was made for, in the index's own words."""
    return RawSQL(condition, params, output_field=BooleanField())  # noqa: S611 - constants


# ---- with text: blocks whose words fit, then the events in them ----------------------------------


def _searched(
    sandbox_id: str, wanted: Filter, first: int, last: int, *, newest: bool, limit: int
) -> Found:
    """What the index does not have yet lies behind all that it has."""
    terms = wanted.terms
    edge = indexed_to(sandbox_id) if terms.words else 0
    if last - edge > 4 * BLOCK_EVENTS:
        ask_for_index(sandbox_id)
    look = _Look(sandbox_id, wanted, newest=newest, limit=limit)
    parts = [("index", first, min(last, edge)), ("read", max(first, edge + 1), last)]
    for how, low, high in reversed(parts) if newest else parts:
        if low > high or look.is_done:
            continue
        if how == "read":
            look.read(low, high)
        else:
            look.through_index(low, high)
    return look.found(first, last)


class _Look:
    """One page's search, part by part, until it has enough or has looked far enough."""

    def __init__(self, sandbox_id: str, wanted: Filter, *, newest: bool, limit: int) -> None:
        self._sandbox_id = sandbox_id
        self._wanted = wanted
        self._terms: Terms = wanted.terms
        self._newest = newest
        self._limit = limit
        self._events: list[Event] = []
        self._reached: int | None = None
        self.is_done = False

    @property
    def _order(self) -> str:
        return "DESC" if self._newest else "ASC"

    def read(self, low: int, high: int) -> None:
        """All events of a part, as far as one page goes."""
        if high - low >= _WINDOW:
            low, high = (high - _WINDOW + 1, high) if self._newest else (low, low + _WINDOW - 1)
            self._look_into([(low, high)])
            self._stop(low if self._newest else high)
        else:
            self._look_into([(low, high)])

    def through_index(self, low: int, high: int) -> None:
        """The events of the blocks that have all the words."""
        ranges = self._blocks(low, high)
        more = len(ranges) > _BLOCKS
        ranges = ranges[:_BLOCKS]
        if ranges:
            self._look_into([(max(low, first), min(high, last)) for first, last in ranges])
        if more:
            self._stop(ranges[-1][0] if self._newest else ranges[-1][1])

    def found(self, first: int, last: int) -> Found:
        events = sorted(self._events, key=lambda event: event.seq)
        if self._reached is not None and self._newest:
            first = max(first, self._reached)
        elif self._reached is not None:
            last = min(last, self._reached)
        return Found(events, first, last)

    def _stop(self, reached: int) -> None:
        if not self.is_done:
            self.is_done, self._reached = True, reached

    def _blocks(self, low: int, high: int) -> list[tuple[int, int]]:
        """The nearest that have all the words, one more than a page looks into."""
        near = self._ask(_BLOCKS_NEAR, low, high, _NEAR)
        fit = [(first, last) for first, last, has_all in near if has_all]
        if len(near) < _NEAR or len(fit) > _BLOCKS:
            return fit
        if self._newest:
            high = int(near[-1][0]) - 1
        else:
            low = int(near[-1][1]) + 1
        return fit + self._ask(_BLOCKS_ALL, low, high, _BLOCKS + 1)

    def _ask(self, sql: str, low: int, high: int, limit: int) -> list[tuple[Any, ...]]:
        query = self._terms.tsquery(self._sandbox_id)
        values: dict[str, Any] = {
            "id": self._sandbox_id,
            "query": query,
            "below": high + 1,
            "above": low - 1,
            "limit": limit,
        }
        with transaction.atomic(), connection.cursor() as cursor:
            # What statistics say of words with a mark in front is too little to go by.
            cursor.execute("SET LOCAL enable_seqscan = off")
            cursor.execute(sql.format(order=self._order), values)
            return list(cursor.fetchall())

    def _look_into(self, ranges: Sequence[tuple[int, int]]) -> None:
        rows = self._rows(ranges)
        candidates = [event_of_columns(self._sandbox_id, row) for row in rows]
        matching = _failed_only(self._sandbox_id, self._wanted, candidates)
        left = self._limit - len(self._events)
        self._events += matching[:left]
        if len(matching) >= left:
            self._stop(matching[left - 1].seq)
        elif len(rows) == _CANDIDATES:
            self._stop(candidates[-1].seq)

    def _rows(self, ranges: Sequence[tuple[int, int]]) -> list[tuple[Any, ...]]:
        values: dict[str, Any] = {
            "id": self._sandbox_id,
            "firsts": [low for low, _ in ranges],
            "lasts": [high for _, high in ranges],
            "words": [f"%{word}%" for word in self._terms.words],
            "limit": _CANDIDATES,
        }
        with connection.cursor() as cursor:
            cursor.execute(_LOOK.format(order=self._order), values)
            return list(cursor.fetchall())


def _failed_only(sandbox_id: str, wanted: Filter, events: Sequence[Event]) -> list[Event]:
    """Those that match. With ``failed``, output counts when its command or cell failed."""
    matching = [event for event in events if wanted.match(event)]
    if wanted.show != "failed":
        return matching
    spans = {event.span for event in matching if event.kind in OUTPUT_KINDS and event.span}
    rows: QuerySet[EventRow] = EventRow.objects.filter(
        _true(FAILED),
        sandbox_id=sandbox_id,
        span__in=spans,
        kind__in=[kind.value for kind in ENDINGS],
    )
    failed = set(rows.values_list("span", flat=True))
    return [event for event in matching if event.kind not in OUTPUT_KINDS or event.span in failed]
