"""Where ports of sandboxes are seen from outside."""

from __future__ import annotations

from dataclasses import asdict
from typing import Final

from django.http import HttpResponse
from ninja import Query, Router

from accounts.database import in_database
from sandboxes.api.access import READ, ApiRequest
from sandboxes.api.replies import reply
from sandboxes.api.schemas import ErrorOut
from sandboxes.api.schemas_previews import HostOut, PortQuery
from sandboxes.previews import preview_host

router: Final = Router(tags=["Previews"])


@router.get(
    "/{sandbox_id}/host",
    auth=READ,
    response={200: HostOut, 403: ErrorOut, 404: ErrorOut, 409: ErrorOut, 422: ErrorOut},
)
async def get_host(request: ApiRequest, sandbox_id: str, query: Query[PortQuery]) -> HttpResponse:
    """The name under which a browser sees a port, whether something listens there or not."""
    shown = await in_database(
        preview_host, principal=request.auth.principal, sandbox_id=sandbox_id, port=query.port
    )
    return reply(asdict(shown))
