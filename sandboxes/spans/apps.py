"""The Django application of spans."""

from __future__ import annotations

from django.apps import AppConfig


class SpansConfig(AppConfig):
    """Its table is ``spans_sent``, wherever the code lies."""

    name = "sandboxes.spans"
    label = "spans"
    default_auto_field = "django.db.models.BigAutoField"
