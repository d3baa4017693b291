"""The bodies that the webhook routes take and give."""

from __future__ import annotations

from pydantic import BaseModel, Field

from sandboxes.api.schemas import Body
from sandboxes.webhooks.kinds import EventType

_TYPES = ", ".join(f"`{kind}`" for kind in EventType)


class WebhookIn(Body):
    """An address to tell of events."""

    url: str = Field(description="http or https, at a public address; at most 2048 characters.")
    event_types: list[str] | None = Field(
        None, max_length=64, description=f"Any of {_TYPES}; all of them when left out."
    )


class WebhookOut(BaseModel):
    """An address that is told. It is switched off after 20 deliveries in a row were given up."""

    id: str
    url: str
    event_types: list[str] | None
    active: bool
    consecutive_failures: int
    last_delivery_at: str | None
    last_error: str | None
    created_at: str


class WebhookShownOut(WebhookOut):
    """A new one. Keep the secret: it signs every delivery, and is never shown again."""

    secret: str


class WebhooksOut(BaseModel):
    """All of the account's."""

    webhooks: list[WebhookOut]
