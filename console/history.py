"""Pages of a timeline for a reader: rows as HTML, and which seq they cover."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from django.utils.safestring import SafeString

from timeline.events import BEGINNINGS, Event, Kind
from timeline.excerpt import excerpt
from timeline.filters import Filter
from timeline.matches import Found, found_after, found_before
from timeline.moments import seq_at
from timeline.render import render_part, render_row, render_rows, render_stub
from timeline.selectors import (
    events_after,
    events_before,
    last_seq,
    output_tails,
    spans_ended,
    spans_started,
)

PAGE = 200
FIRST = 100
"""Events of the page as it is opened: more than a screen; what is above comes by itself."""
MOST = 500
TAIL = 5
"""Events of output that a command shows where only commands are asked for."""

SHOWS = {
    "": "All",
    "commands": "Commands",
    "files": "Files",
    "network": "Network",
    "lifecycle": "Lifecycle",
    "failed": "Failed",
}
"""What the timeline can be narrowed to."""


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows that cover every seq from ``first`` to ``last`` (of the kinds asked for)."""

    html: SafeString
    first: int
    last: int


def slice_before(
    *, sandbox_id: str, before: int | None = None, limit: int = PAGE, wanted: Filter | None = None
) -> Slice:
    """The newest events, or the newest in front of a seq."""
    if wanted is not None and wanted.is_active:
        return _narrowed(
            sandbox_id, wanted, found_before(sandbox_id=sandbox_id, wanted=wanted, before=before)
        )
    end = last_seq(sandbox_id=sandbox_id) + 1 if before is None else before
    events = events_before(sandbox_id=sandbox_id, before=end, limit=limit)
    first = events[0].seq if len(events) == limit else 1
    return Slice(_html(sandbox_id, events), first, end - 1)


def slice_after(
    *, sandbox_id: str, after: int, limit: int = PAGE, wanted: Filter | None = None
) -> Slice:
    """The events behind a seq, oldest first."""
    if wanted is not None and wanted.is_active:
        return _narrowed(
            sandbox_id, wanted, found_after(sandbox_id=sandbox_id, wanted=wanted, after=after)
        )
    newest = last_seq(sandbox_id=sandbox_id)
    events = events_after(sandbox_id=sandbox_id, after=after, limit=limit)
    reached = events[-1].seq if events else after
    last = reached if len(events) == limit else max(reached, newest)
    return Slice(_html(sandbox_id, events), after + 1, last)


def slice_around(*, sandbox_id: str, at: datetime, limit: int = PAGE) -> tuple[Slice, int]:
    """The events around a moment, most of them before it, and the last seq that it had seen."""
    seq = seq_at(sandbox_id=sandbox_id, at=at)
    behind = max(0, seq - limit * 3 // 4)
    return slice_after(sandbox_id=sandbox_id, after=behind, limit=limit), seq


def _narrowed(sandbox_id: str, wanted: Filter, found: Found) -> Slice:
    """What was found, each command or cell as a card: how it began, how it ended, and of its
    output what was found in it or its last lines."""
    spans = sorted({event.span for event in found.events if event.span and _of_command(event)})
    started = spans_started(sandbox_id=sandbox_id, spans=spans) if spans else {}
    exited = spans_ended(sandbox_id=sandbox_id, spans=spans) if spans else {}
    searched = bool(wanted.terms.parts)
    tails = [] if searched else _tails(sandbox_id, started, exited)
    counted = Counter(event.span for event in tails)
    whole = {span for span in spans if not searched and counted[span] <= TAIL}
    cut = tails if searched else _last_of_each(tails)
    events = {event.seq: event for event in [*started.values(), *exited.values(), *cut]}
    events |= {event.seq: excerpt(event, wanted.terms) for event in found.events}
    part = "matches" if searched else "tail"
    html = "".join(
        render_part(event, part="" if event.span in whole else part)
        if event.kind in (Kind.COMMAND_STARTED, Kind.CODE_RUN)
        else render_row(event)
        for _, event in sorted(events.items())
    )
    return Slice(SafeString(html), found.first, found.last)


def _of_command(event: Event) -> bool:
    return event.kind.startswith(("command.", "terminal.", "code."))


def _tails(
    sandbox_id: str, started: Mapping[str, Event], exited: Mapping[str, Event]
) -> list[Event]:
    """One more of each than is shown, to know whether that is all."""
    newest = last_seq(sandbox_id=sandbox_id)
    spans = {
        span: (event.seq, exited[span].seq if span in exited else newest)
        for span, event in started.items()
    }
    return output_tails(sandbox_id=sandbox_id, spans=spans, limit=TAIL + 1) if spans else []


def _last_of_each(tails: Sequence[Event]) -> list[Event]:
    by_span: dict[str | None, list[Event]] = {}
    for event in sorted(tails, key=lambda event: event.seq):
        by_span.setdefault(event.span, []).append(event)
    return [event for events in by_span.values() for event in events[-TAIL:]]


def _html(sandbox_id: str, events: Sequence[Event]) -> SafeString:
    """The rows, led by a stub for each command, terminal or cell that began before them."""
    begun = {event.span for event in events if event.kind in BEGINNINGS}
    open_spans = {event.span for event in events if event.span and event.span not in begun}
    stubs = spans_started(sandbox_id=sandbox_id, spans=sorted(open_spans)) if open_spans else {}
    older = sorted(stubs.values(), key=lambda event: event.seq)
    html = "".join(render_stub(event) for event in older) + render_rows(events)
    return SafeString(html)  # every row is escaped where it is rendered
