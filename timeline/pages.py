"""What viewers read from PostgreSQL: queried and rendered in a few threads, off the event loop."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Final, TypeVar

from channels.db import database_sync_to_async

from timeline import frames, selectors

T = TypeVar("T")

# Bounds the connections that viewers catching up can take, however many they are.
_THREADS: Final = ThreadPoolExecutor(max_workers=4, thread_name_prefix="timeline-pages")


async def heads(sandbox_ids: Sequence[str]) -> Mapping[str, int]:
    """The last ``seq`` of each sandbox that has events."""
    return await _in_thread(partial(selectors.last_seqs, sandbox_ids=sandbox_ids))


async def rows_after(sandbox_id: str, *, after: int, limit: int) -> frames.Rows | None:
    """One frame of rows behind a ``seq``, of at most ``limit`` events; None at the end."""
    return await _in_thread(partial(_rows_after, sandbox_id, after, limit))


async def _in_thread(query: Callable[[], T]) -> T:
    run = database_sync_to_async(query, thread_sensitive=False, executor=_THREADS)
    answer: T = await run()
    return answer


def _rows_after(sandbox_id: str, after: int, limit: int) -> frames.Rows | None:
    events = selectors.events_after(sandbox_id=sandbox_id, after=after, limit=limit)
    return frames.rows(events) if events else None
