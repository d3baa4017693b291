"""The Django application of usage."""

from __future__ import annotations

from django.apps import AppConfig


class UsageConfig(AppConfig):
    """Its tables are ``usage_…``, wherever the code lies."""

    name = "sandboxes.usage"
    label = "usage"
    default_auto_field = "django.db.models.BigAutoField"
