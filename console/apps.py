"""The Django application of the console."""

from __future__ import annotations

from importlib import import_module

from django.apps import AppConfig


class ConsoleConfig(AppConfig):
    """Named so that settings can list ``console`` alone."""

    name = "console"

    def ready(self) -> None:
        """Whoever sends a task from a Django process sends it to this installation's broker."""
        import_module("console.celery")
