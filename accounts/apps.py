"""The Django application of people, accounts and tokens."""

from __future__ import annotations

from django.apps import AppConfig


class AccountsConfig(AppConfig):
    """Named so that settings can list ``accounts`` alone."""

    name = "accounts"
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Models can be imported from here on."""
        from accounts import lookups, receivers

        lookups.register()
        receivers.connect()
