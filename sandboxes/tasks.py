"""What Celery runs for sandboxes."""

from __future__ import annotations

from celery import shared_task

from sandboxes import reaper


@shared_task(name="sandboxes.reap", ignore_result=True)  # type: ignore[untyped-decorator]
def reap() -> None:
    """Every second, by beat. A round that waited longer than that in the queue is dropped there."""
    reaper.reap()
