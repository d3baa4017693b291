"""The Django application of signals."""

from __future__ import annotations

from django.apps import AppConfig


class SignalsConfig(AppConfig):
    """Its tables are ``signals_…``, wherever the code lies."""

    name = "sandboxes.signals"
    label = "signals"
    default_auto_field = "django.db.models.BigAutoField"
