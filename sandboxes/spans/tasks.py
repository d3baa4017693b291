"""What Celery runs for spans."""

from __future__ import annotations

from importlib import import_module

from celery import shared_task
from django.conf import settings


@shared_task(name="sandboxes.spans.send", ignore_result=True)  # type: ignore[untyped-decorator]
def send() -> None:
    """Every few seconds, by beat. What a round does not get to comes with the next."""
    if settings.ORKESTR_OTLP_ENDPOINT:
        # Workers that send no spans are spared the 15 MB of what sends them.
        import_module("sandboxes.spans.services").spans_send()
