"""Writing events from Django processes: what the platform itself does to a sandbox."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import orjson
from django.conf import settings
from django.db import connection, transaction
from django.db.models import F
from redis.exceptions import RedisError

from timeline.events import Event, NewEvent
from timeline.indexing import index_later
from timeline.live import client, publish
from timeline.log import to_line
from timeline.models import EventRow, Head, Mark, Stretch, WordBlock
from timeline.selectors import at_time, last_seq

log = logging.getLogger(__name__)

_PART = 50_000
_BEGIN = """
    INSERT INTO timeline_head (sandbox_id, seq, journal)
    SELECT %(id)s, COALESCE((SELECT max(seq) FROM timeline_event WHERE sandbox_id = %(id)s), 0), 0
    ON CONFLICT DO NOTHING
"""


def event_append(*, sandbox_id: str, event: NewEvent) -> Event:
    """Store one event; see ``events_append``."""
    return events_append(sandbox_id=sandbox_id, events=[event])[0]


@transaction.atomic
def events_append(*, sandbox_id: str, events: Sequence[NewEvent]) -> list[Event]:
    """Store events as the next of their sandbox, in the caller's transaction, and tell watchers.

    They are there exactly when the change they tell about is. The sandbox's log is locked until
    that transaction ends, so call this last, and with several sandboxes in order of their ids.
    """
    if not events:
        return []
    lines = [to_line(event) for event in events]
    cleaned = [NewEvent.from_json(orjson.loads(line)) for line in lines]
    first = _reserve(sandbox_id, len(events))
    stored = [
        Event(sandbox_id, seq, new.at, new.kind, new.actor, new.span, new.data)
        for seq, new in enumerate(cleaned, first)
    ]
    EventRow.objects.bulk_create(_row(event) for event in stored)
    transaction.on_commit(lambda: _tell(sandbox_id, first, lines))
    return stored


def events_remove(*, sandbox_id: str) -> None:
    """Drop a log for good, but for the events that people pinned. Its numbers are not used again.

    In parts, each a transaction: a log may have millions of events. Idempotent.
    """
    pins = Mark.objects.filter(sandbox_id=sandbox_id, what=Mark.What.PIN, removed_at=None)
    kept = list(pins.values_list("seq", flat=True))
    last = last_seq(sandbox_id=sandbox_id)
    for first in range(1, last + 1, _PART):
        rows = EventRow.objects.filter(sandbox_id=sandbox_id)
        rows = rows.filter(seq__gte=first, seq__lt=min(first + _PART, last + 1))
        rows.exclude(seq__in=kept).delete()
    WordBlock.objects.filter(sandbox_id=sandbox_id).delete()
    Stretch.objects.filter(sandbox_id=sandbox_id).delete()


def _reserve(sandbox_id: str, count: int) -> int:
    """Lock the sandbox's head and move it; returns the first of the reserved numbers."""
    mine = Head.objects.filter(sandbox_id=sandbox_id)
    if not mine.update(seq=F("seq") + count):
        with connection.cursor() as cursor:
            cursor.execute(_BEGIN, {"id": sandbox_id})
        mine.update(seq=F("seq") + count)
    return mine.values_list("seq", flat=True).get() - count + 1


def _row(event: Event) -> EventRow:
    return EventRow(
        sandbox_id=event.sandbox_id,
        seq=event.seq,
        at=at_time(event.at),
        kind=event.kind,
        actor=event.actor.to_json(),
        span=event.span,
        data=event.data,
    )


def _tell(sandbox_id: str, first: int, lines: Sequence[bytes]) -> None:
    """A watcher that misses this notices within seconds that PostgreSQL has more."""
    try:
        redis = client(settings.REDIS_URL)
        publish(redis, sandbox_id=sandbox_id, first=first, lines=lines)
        index_later(redis, [sandbox_id])
    except RedisError as error:
        log.warning("Watchers of %s are told later, Redis is away: %s", sandbox_id, error)
