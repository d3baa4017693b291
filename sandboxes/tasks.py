"""What Celery runs for sandboxes."""

from __future__ import annotations

import time
from contextlib import suppress

from celery import shared_task
from django.conf import settings
from django.utils import timezone
from redis.exceptions import RedisError

from sandboxes import reaper
from sandboxes.retention import retention_apply
from timeline.live import client


@shared_task(name="sandboxes.reap", ignore_result=True)  # type: ignore[untyped-decorator]
def reap() -> None:
    """Every second, by beat. A round that waited longer than that in the queue is dropped there."""
    with suppress(RedisError):
        client(settings.REDIS_URL).set(reaper.HEARTBEAT, time.time())
    reaper.reap()


@shared_task(name="sandboxes.retention.apply", ignore_result=True)  # type: ignore[untyped-decorator]
def apply_retention() -> None:
    """Every hour, by beat."""
    retention_apply(now=timezone.now())
