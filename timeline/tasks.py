"""What Celery runs for the log, besides the tail (``timeline.bootstep``)."""

from __future__ import annotations

import logging

from celery import shared_task
from redis.exceptions import RedisError

from timeline.indexing import index_due

log = logging.getLogger(__name__)


@shared_task(name="timeline.index_words", ignore_result=True)  # type: ignore[untyped-decorator]
def index_words() -> None:
    """Every few seconds, by beat. What one round does not get to is the next one's."""
    try:
        index_due()
    except RedisError as error:
        log.warning("New output is not indexed yet, Redis is away: %s", error)
