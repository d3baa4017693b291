"""The timeline of a sandbox: pages of JSON, or a live feed of server-sent events."""

from __future__ import annotations

from typing import Final

from django.http import HttpResponse
from django.http.response import HttpResponseBase
from ninja import Query, Router

from accounts.database import in_database
from sandboxes.api.access import READ, ApiRequest
from sandboxes.api.feed import feed_response
from sandboxes.api.replies import reply
from sandboxes.api.schemas import SEQ_MAX, ErrorOut, EventsOut, EventsQuery
from sandboxes.errors import InvalidRequest, SandboxNotFound
from timeline.events import Kind
from timeline.selectors import events_after

router: Final = Router(tags=["Timeline"])


@router.get("/{sandbox_id}/events", auth=READ, response={200: EventsOut, 404: ErrorOut})
async def list_events(
    request: ApiRequest, sandbox_id: str, query: Query[EventsQuery]
) -> HttpResponseBase:
    """What happened in a sandbox, oldest first. It stays readable after the sandbox has ended.

    With `Accept: text/event-stream` the answer is the live feed: every event as one `data:` line,
    its `seq` as the `id`. It begins behind `Last-Event-ID`, or else behind `after`.
    """
    if request.auth.target is None:
        raise SandboxNotFound(sandbox_id)
    kinds = [_kind(one) for one in query.kind]
    if "text/event-stream" in request.META.get("HTTP_ACCEPT", ""):
        after = _last_event_id(request, query.after)
        return feed_response(request.auth.principal, sandbox_id, after=after, kinds=kinds)
    return await _page(sandbox_id, query, kinds)


async def _page(sandbox_id: str, query: EventsQuery, kinds: list[str]) -> HttpResponse:
    events = await in_database(
        events_after, sandbox_id=sandbox_id, after=query.after, kinds=kinds, limit=query.limit
    )
    last_seq = events[-1].seq if events else query.after
    return reply({"events": [event.to_json() for event in events], "last_seq": last_seq})


def _kind(name: str) -> str:
    try:
        return Kind(name).value
    except ValueError:
        raise InvalidRequest(f"kind must be one of {', '.join(Kind)}.") from None


def _last_event_id(request: ApiRequest, after: int) -> int:
    text = request.META.get("HTTP_LAST_EVENT_ID")
    if text is None:
        return after
    if not text.isascii() or not text.isdigit() or int(text[:20]) > SEQ_MAX:
        raise InvalidRequest("Last-Event-ID must be the id of an event of this feed.")
    return int(text[:20])
