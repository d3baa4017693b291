"""The timeline of a sandbox, as JSON pages."""

from __future__ import annotations

from typing import Final

from django.http import HttpResponse
from ninja import Query, Router

from accounts.database import in_database
from sandboxes.api.access import READ, ApiRequest
from sandboxes.api.replies import reply
from sandboxes.api.schemas import ErrorOut, EventsOut, EventsQuery
from sandboxes.errors import InvalidRequest, SandboxNotFound
from timeline.events import Event, Kind
from timeline.selectors import events_after

router: Final = Router(tags=["Timeline"])


@router.get("/{sandbox_id}/events", auth=READ, response={200: EventsOut, 404: ErrorOut})
async def list_events(
    request: ApiRequest,
    sandbox_id: str,
    query: Query[EventsQuery],
) -> HttpResponse:
    """What happened in a sandbox, oldest first. It stays readable after the sandbox has ended."""
    if request.auth.target is None:
        raise SandboxNotFound(sandbox_id)
    kinds = [_kind(one) for one in query.kind]
    events = await in_database(
        events_after, sandbox_id=sandbox_id, after=query.after, kinds=kinds, limit=query.limit
    )
    return reply(_events_json(events, query.after))


def _events_json(events: list[Event], after: int) -> dict[str, object]:
    last_seq = events[-1].seq if events else after
    return {"events": [event.to_json() for event in events], "last_seq": last_seq}


def _kind(name: str) -> str:
    try:
        return Kind(name).value
    except ValueError:
        raise InvalidRequest(f"kind must be one of {', '.join(Kind)}.") from None
