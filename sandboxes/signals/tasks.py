"""What Celery runs for signals."""

from __future__ import annotations

from celery import shared_task

from sandboxes.signals.services import signals_look


@shared_task(name="sandboxes.signals.look", ignore_result=True)  # type: ignore[untyped-decorator]
def look() -> None:
    """Every few seconds, by beat. A round that is late reads what it missed."""
    signals_look()
