"""A sandbox's events as they are stored, for callers that are no browsers."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing
from typing import Final

from django.http import StreamingHttpResponse

from accounts.database import in_database
from accounts.policy import Principal
from sandboxes.api.streams import KEEP_ALIVE, Pulse, paced, pulse, sse, sse_response
from sandboxes.api.watch import watched
from timeline.events import Event
from timeline.hub import get_hub
from timeline.selectors import events_after

_PAGE: Final = 200


def feed_response(
    principal: Principal, sandbox_id: str, *, after: int, kinds: Sequence[str]
) -> StreamingHttpResponse:
    """Every event behind ``after``, then each as it is stored, until the caller goes away."""
    return sse_response(_frames(principal, sandbox_id, after, kinds))


async def _frames(
    principal: Principal, sandbox_id: str, after: int, kinds: Sequence[str]
) -> AsyncIterator[bytes]:
    yield KEEP_ALIVE  # a server holds back the head of an answer until there is some of its body
    with watched(principal) as ended:
        pages = _pages(sandbox_id, after, kinds)
        async with aclosing(paced(pages, ended=ended)) as news:
            async for page in news:
                yield pulse(page) if isinstance(page, Pulse) else _page_frames(page)


async def _pages(
    sandbox_id: str, after: int, kinds: Sequence[str]
) -> AsyncGenerator[list[Event], None]:
    """The hub says that there is news; what it is comes from PostgreSQL, in order and whole."""
    with get_hub().subscribe(sandbox_id) as news:
        while True:
            page = await in_database(
                events_after, sandbox_id=sandbox_id, after=after, kinds=kinds, limit=_PAGE
            )
            if page:
                after = page[-1].seq
                yield page
            if len(page) < _PAGE:
                await news.next()


def _page_frames(events: Sequence[Event]) -> bytes:
    return b"".join(sse(event.to_json(), event_id=event.seq) for event in events)
