"""Being told of what becomes of sandboxes."""

from __future__ import annotations

from typing import Final

from django.http import HttpResponse
from ninja import Router

from accounts.database import in_database
from sandboxes.api.access import READ, WRITE, ApiRequest
from sandboxes.api.replies import nothing, reply, webhook_json
from sandboxes.api.schemas import ErrorOut
from sandboxes.api.schemas_webhooks import WebhookIn, WebhookOut, WebhookShownOut, WebhooksOut
from sandboxes.webhooks import selectors, services

router: Final = Router(tags=["Webhooks"])


@router.post(
    "/webhooks",
    auth=WRITE,
    response={201: WebhookShownOut, 409: ErrorOut, 422: ErrorOut},
)
async def create_webhook(request: ApiRequest, payload: WebhookIn) -> HttpResponse:
    """Have an address told. The `secret` is in this answer and in no other."""
    call = request.auth
    shown = await services.webhook_create(
        principal=call.principal,
        url=payload.url,
        event_types=payload.event_types,
        origin=call.origin,
    )
    return reply({**webhook_json(shown.webhook), "secret": shown.secret}, status=201)


@router.get("/webhooks", auth=READ, response=WebhooksOut)
async def list_webhooks(request: ApiRequest) -> HttpResponse:
    """All of the account's, newest first, without their secrets."""
    hooks = await in_database(selectors.webhooks_of, request.auth.principal.account_id)
    return reply({"webhooks": [webhook_json(hook) for hook in hooks]})


@router.post("/webhooks/{webhook_id}/enable", auth=WRITE, response={200: WebhookOut, 404: ErrorOut})
async def enable_webhook(request: ApiRequest, webhook_id: str) -> HttpResponse:
    """Switch one on again that was switched off after too many failures."""
    call = request.auth
    hook = await in_database(
        services.webhook_enable,
        principal=call.principal,
        webhook_id=webhook_id,
        origin=call.origin,
    )
    return reply(webhook_json(hook))


@router.delete("/webhooks/{webhook_id}", auth=WRITE, response={204: None, 404: ErrorOut})
async def delete_webhook(request: ApiRequest, webhook_id: str) -> HttpResponse:
    """Stop telling it. What waits to be sent is not sent any more."""
    call = request.auth
    await in_database(
        services.webhook_delete,
        principal=call.principal,
        webhook_id=webhook_id,
        origin=call.origin,
    )
    return nothing()
