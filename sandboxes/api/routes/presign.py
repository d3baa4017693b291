"""Links for files of any size. What is behind them is served by ``console/transfers.py``."""

from __future__ import annotations

from typing import Final

from django.http import HttpResponse
from ninja import Router

from sandboxes.api.access import READ, WRITE, ApiRequest
from sandboxes.api.awake import awake
from sandboxes.api.replies import reply
from sandboxes.api.schemas import ErrorOut
from sandboxes.api.schemas_presign import PresignIn, PresignOut
from sandboxes.presign import Method, link_make

router: Final = Router(tags=["Files"])

_ERRORS: Final = {404: ErrorOut, 409: ErrorOut, 422: ErrorOut}


@router.post(
    "/{sandbox_id}/files/presign-download", auth=READ, response={200: PresignOut, **_ERRORS}
)
async def presign_download(
    request: ApiRequest, sandbox_id: str, payload: PresignIn
) -> HttpResponse:
    """A link that answers a plain GET with the file, of whatever size; `Range` is understood."""
    return await _link(request, sandbox_id, payload, "GET")


@router.post(
    "/{sandbox_id}/files/presign-upload", auth=WRITE, response={200: PresignOut, **_ERRORS}
)
async def presign_upload(request: ApiRequest, sandbox_id: str, payload: PresignIn) -> HttpResponse:
    """A link that takes a plain PUT with the file as its body and a `Content-Length`."""
    return await _link(request, sandbox_id, payload, "PUT")


async def _link(
    request: ApiRequest, sandbox_id: str, payload: PresignIn, method: Method
) -> HttpResponse:
    await awake(request.auth, sandbox_id)
    link = link_make(
        principal=request.auth.principal,
        sandbox_id=sandbox_id,
        method=method,
        path=payload.path,
        expires_in=payload.expires_in,
    )
    return reply(
        {
            "url": link.url,
            "method": link.method,
            "path": link.path,
            "expires_at": link.expires_at,
        }
    )
