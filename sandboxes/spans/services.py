"""Sends what ended since the last round, and notes how far only when the collector has it.

It reads the stored log beside everything else: a collector that is slow or away delays spans and
nothing more. What was refused or not answered is sent again with the next round.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from django.conf import settings
from django.db import transaction
from django.utils import timezone
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult

from sandboxes.following import Follower
from sandboxes.models import Status
from sandboxes.spans.models import Sent
from sandboxes.spans.shape import command_span, sandbox_span
from timeline.commands import ENDED
from timeline.events import Kind
from timeline.selectors import events_after, spans_started

RUNS: Final = 50
SPANS: Final = 500
_ROUNDS: Final = 20
_ENDS: Final = [kind.value for kind in ENDED]
_OVER: Final = [Kind.SANDBOX_TERMINATED.value, Kind.SANDBOX_FAILED.value]
#: How long after a run's end its last events may take to be stored.
_LAST_WORDS: Final = timedelta(seconds=30)
_RUNS: Final = Follower(
    table="spans_sent", fresh={}, columns=("s.template", "s.created_at", "s.ended_at")
)


@dataclass(frozen=True, slots=True)
class _Run:
    sandbox_id: str
    seq: int
    head: int
    status: str
    account_id: str
    template: str
    created_at: datetime
    ended_at: datetime | None

    @property
    def over(self) -> bool:
        return self.status in (Status.TERMINATED, Status.FAILED)

    @property
    def has_said_all(self) -> bool:
        return self.ended_at is None or timezone.now() - self.ended_at > _LAST_WORDS

    @property
    def resource(self) -> Resource:
        return Resource(
            {
                "service.name": "orkestr",
                "orkestr.sandbox.id": self.sandbox_id,
                "orkestr.template": self.template,
                "orkestr.account.id": self.account_id,
            }
        )


def spans_send() -> int:
    """One round; returns how many spans the collector took. Nothing without a collector."""
    if not settings.ORKESTR_OTLP_ENDPOINT:
        return 0
    _RUNS.begin()
    sent = 0
    for _ in range(_ROUNDS):
        count, more = _send_batch()
        sent += count
        if not more:
            break
    return sent


@transaction.atomic
def _send_batch() -> tuple[int, bool]:
    """How many went, and whether to go on at once."""
    due = [_Run(*row) for row in _RUNS.due(limit=RUNS)]
    spans: list[ReadableSpan] = []
    rows: list[Sent] = []
    for run in due:
        found, row = _read(run, room=SPANS - len(spans))
        spans += found
        rows.append(row)
        if len(spans) >= SPANS:
            break
    if spans and not _export(spans):
        return 0, False
    Sent.objects.bulk_update(rows, ["seq", "done"])
    return len(spans), len(spans) >= SPANS or len(due) == RUNS


def _read(run: _Run, *, room: int) -> tuple[list[ReadableSpan], Sent]:
    """What is new of a run, at most ``room`` spans, and how far that reaches."""
    events = events_after(
        sandbox_id=run.sandbox_id, after=run.seq, kinds=[*_ENDS, *_OVER], limit=room
    )
    begun = spans_started(
        sandbox_id=run.sandbox_id, spans=[event.span for event in events if event.span]
    )
    resource, spans = run.resource, []
    began = int(run.created_at.timestamp() * 1_000_000)
    for event in events:
        if event.kind in _OVER:
            spans.append(
                sandbox_span(sandbox_id=run.sandbox_id, began=began, ended=event, resource=resource)
            )
        elif event.span in begun:
            spans.append(command_span(started=begun[event.span], ended=event, resource=resource))
    whole = len(events) < room
    over = run.over and (run.has_said_all or any(event.kind in _OVER for event in events))
    seq = max(run.head, run.seq) if whole else events[-1].seq
    return spans, Sent(sandbox_id=run.sandbox_id, seq=seq, done=whole and over)


def _export(spans: Sequence[ReadableSpan]) -> bool:
    exporter = _exporter(
        settings.ORKESTR_OTLP_ENDPOINT,
        settings.ORKESTR_OTLP_HEADERS,
        settings.ORKESTR_OTLP_TIMEOUT_SECONDS,
    )
    return exporter.export(spans) is SpanExportResult.SUCCESS


@lru_cache(maxsize=1)
def _exporter(endpoint: str, headers: str, timeout: float) -> OTLPSpanExporter:
    """The official one; it tries again by itself within its timeout."""
    pairs = (pair.partition("=") for pair in headers.split(",") if "=" in pair)
    named = {name.strip().lower(): value.strip() for name, _, value in pairs}
    return OTLPSpanExporter(endpoint=endpoint, headers=named, timeout=timeout)
