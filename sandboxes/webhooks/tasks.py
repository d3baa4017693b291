"""What Celery runs for webhooks."""

from __future__ import annotations

from celery import shared_task

from sandboxes.webhooks import claims, outbox, sending


@shared_task(name=outbox.TASK, ignore_result=True)  # type: ignore[untyped-decorator]
def send() -> None:
    """When something was committed, and by beat for retries and for what was not told."""
    sending.send_due()


@shared_task(name="sandboxes.webhooks.prune", ignore_result=True)  # type: ignore[untyped-decorator]
def prune() -> None:
    """Now and then, by beat."""
    claims.prune()
