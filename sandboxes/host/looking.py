"""Looks at the limits of all sandboxes again and again, and writes down those that are met."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from concurrent.futures import Executor
from functools import partial
from typing import Final

from sandboxes.host.live import Live
from sandboxes.host.threads import in_thread
from timeline.events import NewEvent

_LOOK_SECONDS: Final = 1.0


async def look(lives: Callable[[], Iterable[Live]], executor: Executor) -> None:
    """Until cancelled; ``lives`` are those of the moment."""
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        running = [live for live in lives() if live.end is None]
        found = await in_thread(executor, partial(_look_at, running))
        for live, events in found:
            if live.end is None:
                live.box.journal.append_many(events)


def _look_at(lives: list[Live]) -> list[tuple[Live, list[NewEvent]]]:
    """A sandbox that ends meanwhile is looked at once more by its end."""
    found = []
    for live in lives:
        try:
            events = live.limits.look()
        except OSError:
            continue
        if events:
            found.append((live, events))
    return found
