"""What Celery runs for usage."""

from __future__ import annotations

import logging

from celery import shared_task
from django.utils import timezone

from sandboxes.host.types import HostError
from sandboxes.services import host_client
from sandboxes.usage.alerts import alerts_mail, alerts_raise
from sandboxes.usage.services import usage_collect

logger = logging.getLogger(__name__)


@shared_task(name="sandboxes.usage.collect", ignore_result=True)  # type: ignore[untyped-decorator]
def collect() -> None:
    """Every few seconds, by beat. What is missed while the host is away comes with the next."""
    try:
        usage_collect(host=host_client())
    except HostError as error:
        logger.warning("usage: the host did not answer: %s", error.message)


@shared_task(name="sandboxes.usage.alert", ignore_result=True)  # type: ignore[untyped-decorator]
def alert() -> None:
    """Every few seconds, by beat. Each share of a credit or cap is told once, whoever runs this."""
    now = timezone.now()
    alerts_raise(now=now)
    alerts_mail(now=now)
