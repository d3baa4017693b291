"""The Django application of sandboxes: their rows, services and API."""

from __future__ import annotations

from django.apps import AppConfig


class SandboxesConfig(AppConfig):
    """Named so that settings can list ``sandboxes`` alone."""

    name = "sandboxes"
    default_auto_field = "django.db.models.BigAutoField"
