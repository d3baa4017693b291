"""Reading the log. Every page is one walk along the primary key, however long the log is."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from django.db import connection
from django.db.models import QuerySet
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import MD5

from timeline.events import BEGINNINGS, ENDINGS, OUTPUT_KINDS, Actor, Event, Kind
from timeline.models import EventRow, Head

PAGE = 200
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_PATH = KeyTextTransform("path", "data")
_NEWEST_WRITES = 1000
_REACHED = """
    SELECT coalesce(data->>'host', ''), coalesce((data->>'port')::bigint, 0),
        kind = 'network.allowed',
        sum(coalesce((data->>'left_out')::bigint, 0)
            + CASE WHEN coalesce(data->>'host', '') = '' THEN 0 ELSE 1 END)::bigint,
        sum(coalesce((data->>'bytes_up')::bigint, 0))::bigint,
        sum(coalesce((data->>'bytes_down')::bigint, 0))::bigint,
        max(at), max(seq),
        coalesce((array_agg(data->>'allow' ORDER BY seq DESC))[1], ''),
        coalesce((array_agg(data->>'detail' ORDER BY seq DESC))[1], '')
    FROM (
        (SELECT seq, at, kind, data FROM timeline_event
         WHERE sandbox_id = %(sandbox_id)s AND kind = 'network.allowed'
         ORDER BY seq DESC LIMIT %(newest)s)
        UNION ALL
        (SELECT seq, at, kind, data FROM timeline_event
         WHERE sandbox_id = %(sandbox_id)s AND kind = 'network.denied'
         ORDER BY seq DESC LIMIT %(newest)s)
    ) AS newest
    GROUP BY 1, 2, 3 ORDER BY max(seq) DESC LIMIT %(limit)s
"""
_MISSING = """
    SELECT before + 1, seq - 1 FROM (
        SELECT seq, lag(seq, 1, %(first)s - 1) OVER (ORDER BY seq) AS before
        FROM (
            SELECT seq FROM timeline_event
            WHERE sandbox_id = %(sandbox_id)s AND seq BETWEEN %(first)s AND %(last)s
            UNION ALL SELECT %(last)s + 1
        ) AS held
    ) AS pairs WHERE seq > before + 1 ORDER BY seq
"""
_TAIL_WINDOW = 500
_TAILS = """
    SELECT e.seq, e.at, e.kind, e.actor, e.span, e.data
    FROM unnest(%(spans)s::text[], %(firsts)s::bigint[], %(lasts)s::bigint[])
        AS part (name, first, last)
    CROSS JOIN LATERAL (
        SELECT * FROM timeline_event
        WHERE sandbox_id = %(id)s AND seq BETWEEN part.first AND part.last
            AND span = part.name
            AND kind IN ('command.output', 'code.output', 'code.result', 'code.error')
        ORDER BY seq DESC LIMIT %(limit)s
    ) AS e
"""


@dataclass(frozen=True, slots=True)
class Verification:
    """Whether ``first``…``last`` is there without a gap; ``missing`` holds inclusive ranges."""

    first: int
    last: int
    missing: tuple[tuple[int, int], ...]

    @property
    def gapless(self) -> bool:
        return not self.missing


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """A file's last write, ``at`` that moment, and how often it was written of late."""

    path: str
    size: int
    seq: int
    at: datetime
    writes: int


@dataclass(frozen=True, slots=True)
class Reached:
    """A host and port as a sandbox reached, or did not reach it: sums over its connections.

    ``allow`` is the domain that would open it, empty where that would not help; ``detail`` the
    sentence of the newest denial; ``seq`` of the newest connection.
    """

    host: str
    port: int
    allowed: bool
    count: int
    bytes_up: int
    bytes_down: int
    at: datetime
    seq: int
    allow: str
    detail: str


def reached_hosts(*, sandbox_id: str, newest: int = 20_000, limit: int = 300) -> list[Reached]:
    """Whom a sandbox's ``newest`` allowed and denied connections went to, the last first."""
    values: dict[str, str | int] = {"sandbox_id": sandbox_id, "newest": newest, "limit": limit}
    with connection.cursor() as cursor:
        cursor.execute(_REACHED, values)
        return [Reached(*row) for row in cursor.fetchall()]


def events_after(
    *, sandbox_id: str, after: int = 0, limit: int = PAGE, kinds: Sequence[str] = ()
) -> list[Event]:
    """The events behind a ``seq``, oldest first."""
    rows = _rows(sandbox_id).filter(seq__gt=after)
    return events_of_kinds(rows, kinds=kinds, limit=limit, order="seq")


def events_before(
    *, sandbox_id: str, before: int | None = None, limit: int = PAGE, kinds: Sequence[str] = ()
) -> list[Event]:
    """The newest events, or the newest in front of a ``seq``; oldest first all the same."""
    rows = _rows(sandbox_id)
    if before is not None:
        rows = rows.filter(seq__lt=before)
    return events_of_kinds(rows, kinds=kinds, limit=limit, order="-seq")[::-1]


def writes_before(
    *, sandbox_id: str, path: str, before: int | None = None, limit: int = PAGE
) -> list[Event]:
    """The newest writes of one file, or the newest in front of a ``seq``; newest first.

    ``path`` as events have it, masked.
    """
    rows = _written(sandbox_id).annotate(digest=MD5(_PATH))
    rows = rows.filter(digest=hashlib.md5(path.encode(), usedforsecurity=False).hexdigest())
    if before is not None:
        rows = rows.filter(seq__lt=before)
    return [event_of(row) for row in rows.order_by("-seq")[:limit]]


def files_written(
    *, sandbox_id: str, limit: int = PAGE, last: int | None = None
) -> list[WrittenFile]:
    """The files among the newest thousand writes, or those up to ``last``, each once, the newest
    first."""
    rows = _written(sandbox_id).annotate(path=_PATH, size=KeyTextTransform("size", "data"))
    if last is not None:
        rows = rows.filter(seq__lte=last)
    newest = rows.order_by("-seq").values_list("path", "size", "seq", "at")[:_NEWEST_WRITES]
    found: dict[str, WrittenFile] = {}
    for path, size, seq, at in newest:
        known = found.get(path)
        writes = known.writes + 1 if known else 1
        found[path] = replace(known or WrittenFile(path, int(size or 0), seq, at, 0), writes=writes)
    return list(found.values())[:limit]


def event_at(*, sandbox_id: str, seq: int) -> Event | None:
    """One event; None where there is none."""
    row = _rows(sandbox_id).filter(seq=seq).first()
    return event_of(row) if row else None


def events_at(*, sandbox_id: str, seqs: Sequence[int]) -> dict[int, Event]:
    """Those of these events that exist, by their ``seq``; the caller bounds how many."""
    rows = _rows(sandbox_id).filter(seq__in=list(seqs)) if seqs else []
    return {row.seq: event_of(row) for row in rows}


def events_range(*, sandbox_id: str, first: int, last: int) -> list[Event]:
    """Every event from ``first`` to ``last``, both included; the caller bounds the range."""
    rows = _rows(sandbox_id).filter(seq__gte=first, seq__lte=last).order_by("seq")
    return [event_of(row) for row in rows]


def last_seq(*, sandbox_id: str) -> int:
    """The newest ``seq``; 0 for a sandbox without events."""
    return last_seqs(sandbox_ids=[sandbox_id]).get(sandbox_id, 0)


def last_seqs(*, sandbox_ids: Sequence[str]) -> dict[str, int]:
    """The newest ``seq`` of several; those without events are left out."""
    heads = Head.objects.filter(sandbox_id__in=sandbox_ids)
    return dict(heads.values_list("sandbox_id", "seq"))


def spans_started(*, sandbox_id: str, spans: Sequence[str]) -> dict[str, Event]:
    """The event that began each span (a command, a terminal, a cell), of those that have one."""
    kinds = [kind.value for kind in BEGINNINGS]
    rows = _rows(sandbox_id).filter(span__in=spans, kind__in=kinds)
    return {event.span: event for event in map(event_of, rows) if event.span}


def spans_ended(*, sandbox_id: str, spans: Sequence[str]) -> dict[str, Event]:
    """The event that ended each span, of those that have one."""
    kinds = [kind.value for kind in ENDINGS]
    rows = _rows(sandbox_id).filter(span__in=spans, kind__in=kinds)
    return {event.span: event for event in map(event_of, rows) if event.span}


def events_of_span(
    *, sandbox_id: str, span: str, kind: str, after: int, last: int | None, limit: int = PAGE
) -> list[Event]:
    """One kind of a span's events behind a ``seq``, up to ``last`` if it is known; oldest first."""
    rows = _rows(sandbox_id).filter(span=span, kind=kind, seq__gt=after)
    if last is not None:
        rows = rows.filter(seq__lte=last)
    return [event_of(row) for row in rows.order_by("seq")[:limit]]


def output_tails(
    *, sandbox_id: str, spans: Mapping[str, tuple[int, int]], limit: int
) -> list[Event]:
    """The last events of output of each span, which lies between the two seqs given with it."""
    values: dict[str, Any] = {
        "id": sandbox_id,
        "spans": list(spans),
        "firsts": [max(first, last - _TAIL_WINDOW) for first, last in spans.values()],
        "lasts": [last for _, last in spans.values()],
        "limit": limit,
    }
    with connection.cursor() as cursor:
        cursor.execute(_TAILS, values)
        return [event_of_columns(sandbox_id, row) for row in cursor.fetchall()]


def lifecycle(*, sandbox_id: str, limit: int = 50) -> list[Event]:
    """The newest ``sandbox.*`` events, oldest first."""
    kinds = [kind.value for kind in Kind if kind.startswith("sandbox.")]
    return events_before(sandbox_id=sandbox_id, kinds=kinds, limit=limit)


def verify(*, sandbox_id: str, first: int = 1, last: int | None = None) -> Verification:
    """Look for gaps in a range (the whole log by default, which reads its whole index)."""
    end = last_seq(sandbox_id=sandbox_id) if last is None else last
    with connection.cursor() as cursor:
        cursor.execute(_MISSING, {"sandbox_id": sandbox_id, "first": first, "last": end})
        missing = tuple((int(start), int(stop)) for start, stop in cursor.fetchall())
    return Verification(first, end, missing)


def at_time(at: int) -> datetime:
    """Microseconds since the epoch as PostgreSQL's timestamp, to the microsecond."""
    return _EPOCH + timedelta(microseconds=at)


def _rows(sandbox_id: str) -> QuerySet[EventRow]:
    return EventRow.objects.filter(sandbox_id=sandbox_id)


def _written(sandbox_id: str) -> QuerySet[EventRow]:
    return _rows(sandbox_id).filter(kind=Kind.FILE_WRITTEN.value)


def events_of_kinds(
    rows: QuerySet[EventRow], *, kinds: Sequence[str], limit: int, order: str
) -> list[Event]:
    """One page. Each kind but output has its own index walk; the pages of all are merged."""
    if not kinds:
        return [event_of(row) for row in rows.order_by(order)[:limit]]
    walks = [_of_kind(rows, kind).order_by(order)[:limit] for kind in dict.fromkeys(kinds)]
    merged = walks[0].union(*walks[1:], all=True) if len(walks) > 1 else walks[0]
    events = sorted(map(event_of, merged), key=lambda event: event.seq, reverse=order == "-seq")
    return events[:limit]


def _of_kind(rows: QuerySet[EventRow], kind: str) -> QuerySet[EventRow]:
    if kind in OUTPUT_KINDS:
        return rows.filter(kind=kind)
    # Said in so many words because a generic plan cannot prove it from a parameter.
    return rows.filter(kind=kind).exclude(kind__in=["command.output", "code.output"])


def event_of(row: EventRow) -> Event:
    """A row as the rest of the program sees it."""
    return Event(
        sandbox_id=row.sandbox_id,
        seq=row.seq,
        at=(row.at - _EPOCH) // _MICROSECOND,
        kind=row.kind,
        actor=Actor.from_json(row.actor),
        span=row.span,
        data=row.data,
    )


def event_of_columns(sandbox_id: str, columns: Sequence[Any]) -> Event:
    """The same from ``seq, at, kind, actor, span, data`` as a cursor gives them."""
    seq, at, kind, actor, span, data = columns
    micros = (at - _EPOCH) // _MICROSECOND
    return Event(
        sandbox_id,
        seq,
        micros,
        kind,
        Actor.from_json(orjson.loads(actor)),
        span,
        orjson.loads(data),
    )
