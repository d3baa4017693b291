"""A run's events from first to last, as a file is written."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Final

from accounts.database import in_database
from timeline.events import Event
from timeline.selectors import events_after

_PAGE: Final = 200


async def events_until(*, sandbox_id: str, last: int) -> AsyncIterator[list[Event]]:
    """Pages up to ``last``: a run that goes on does not make its file endless."""
    after = 0
    while after < last:
        events = await in_database(
            events_after, sandbox_id=sandbox_id, after=after, limit=min(_PAGE, last - after)
        )
        if not events:
            return
        after = events[-1].seq
        yield [event for event in events if event.seq <= last]
