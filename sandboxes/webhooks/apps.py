"""The Django application of webhooks."""

from __future__ import annotations

from django.apps import AppConfig


class WebhooksConfig(AppConfig):
    """Its tables are ``webhooks_…``, wherever the code lies."""

    name = "sandboxes.webhooks"
    label = "webhooks"
    default_auto_field = "django.db.models.BigAutoField"
