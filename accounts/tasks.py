"""What Celery runs for people's accounts."""

from __future__ import annotations

from celery import shared_task
from django.utils import timezone

from accounts.sessions import sessions_clear


@shared_task(name="accounts.sessions.clear", ignore_result=True)  # type: ignore[untyped-decorator]
def clear_sessions() -> None:
    """Every day, by beat."""
    sessions_clear(now=timezone.now())
