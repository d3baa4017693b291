"""Reads of webhooks and deliveries. Each takes an account: a foreign row is never found."""

from __future__ import annotations

from dataclasses import dataclass

from accounts.policy import Principal
from sandboxes.errors import WebhookNotFound
from sandboxes.webhooks.models import Delivery, Webhook


def webhooks_of(account_id: str) -> list[Webhook]:
    """Newest first. There are few: ``services.WEBHOOKS_MAX``."""
    return list(Webhook.objects.filter(account_id=account_id).order_by("-id"))


def webhook_for(*, principal: Principal, webhook_id: str, lock: bool = False) -> Webhook:
    """One of the principal's account, locked for the transaction if asked for.

    Raises ``WebhookNotFound``.
    """
    rows = Webhook.objects.select_for_update() if lock else Webhook.objects.all()
    wanted = webhook_id.replace("\x00", "")
    row = rows.filter(id=wanted, account_id=principal.account_id).first()
    if row is None:
        raise WebhookNotFound(webhook_id)
    return row


@dataclass(frozen=True, slots=True)
class DeliveryPage:
    """Deliveries, newest first, and the id that the next page begins before."""

    rows: list[Delivery]
    next_before: str | None


def deliveries_page(
    *, hook: Webhook, status: str = "", event_type: str = "", before: str = "", limit: int = 30
) -> DeliveryPage:
    """Those of one webhook that match; a new one shifts no page."""
    rows = Delivery.objects.filter(webhook=hook).order_by("-id").defer("body", "response_body")
    if status:
        rows = rows.filter(status=status)
    if event_type:
        rows = rows.filter(event_type=event_type)
    if before:
        rows = rows.filter(id__lt=before)
    found = list(rows[: limit + 1])
    more = len(found) > limit
    return DeliveryPage(found[:limit], found[limit - 1].id if more else None)


def delivery_for(*, hook: Webhook, delivery_id: str) -> Delivery:
    """One delivery of it, with its ``tries``. Raises ``WebhookNotFound``."""
    rows = Delivery.objects.filter(webhook=hook).prefetch_related("tries")
    row = rows.filter(id=delivery_id.replace("\x00", "")).first()
    if row is None:
        raise WebhookNotFound(delivery_id)
    return row
