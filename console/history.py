"""Pages of a timeline for a reader: rows as HTML, and which seq they cover."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from django.utils.safestring import SafeString

from timeline.events import BEGINNINGS, Event, Kind
from timeline.render import render_rows, render_stub
from timeline.selectors import events_after, events_before, last_seq, spans_started

PAGE = 200
MOST = 500

SHOWS = {
    "": "All",
    "commands": "Commands",
    "files": "Files",
    "network": "Network",
    "lifecycle": "Lifecycle",
    "failed": "Failed",
}
"""What the timeline can be narrowed to."""

_FAMILIES = {
    "files": ("file.",),
    "network": ("network.",),
    "lifecycle": ("sandbox.", "limit.", "note.", "signal."),
}


def kinds_of(show: str) -> list[str]:
    """The kinds that a filter is sure to want; none means that all must be read."""
    families = _FAMILIES.get(show, ())
    return [kind.value for kind in Kind if families and kind.startswith(families)]


@dataclass(frozen=True, slots=True)
class Slice:
    """Rows that cover every seq from ``first`` to ``last`` (of the kinds asked for)."""

    html: SafeString
    first: int
    last: int


def slice_before(
    *, sandbox_id: str, before: int | None = None, limit: int = PAGE, kinds: Sequence[str] = ()
) -> Slice:
    """The newest events, or the newest in front of a seq."""
    end = last_seq(sandbox_id=sandbox_id) + 1 if before is None else before
    events = events_before(sandbox_id=sandbox_id, before=end, limit=limit, kinds=kinds)
    first = events[0].seq if len(events) == limit else 1
    return Slice(_html(sandbox_id, events), first, end - 1)


def slice_after(
    *, sandbox_id: str, after: int, limit: int = PAGE, kinds: Sequence[str] = ()
) -> Slice:
    """The events behind a seq, oldest first."""
    newest = last_seq(sandbox_id=sandbox_id)
    events = events_after(sandbox_id=sandbox_id, after=after, limit=limit, kinds=kinds)
    reached = events[-1].seq if events else after
    last = reached if len(events) == limit else max(reached, newest)
    return Slice(_html(sandbox_id, events), after + 1, last)


def _html(sandbox_id: str, events: Sequence[Event]) -> SafeString:
    """The rows, led by a stub for each command, terminal or cell that began before them."""
    begun = {event.span for event in events if event.kind in BEGINNINGS}
    open_spans = {event.span for event in events if event.span and event.span not in begun}
    stubs = spans_started(sandbox_id=sandbox_id, spans=sorted(open_spans)) if open_spans else {}
    older = sorted(stubs.values(), key=lambda event: event.seq)
    html = "".join(render_stub(event) for event in older) + render_rows(events)
    return SafeString(html)  # every row is escaped where it is rendered
