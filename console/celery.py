"""The Celery application: `celery -A console worker` and `celery -A console beat`."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from celery import Celery
from celery.signals import beat_init, setup_logging
from kombu.transport.redis import Channel

from console.observing import tasks

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")


def broker_url(redis_url: str) -> str:
    """Kombu's spelling of a redis-py URL: a unix socket is ``redis+socket://path``."""
    prefix = "unix://"
    if not redis_url.startswith(prefix):
        return redis_url
    path, _, query = redis_url.removeprefix(prefix).partition("?")
    return f"redis+socket://{path}" + (f"?{query.replace('db=', 'virtual_host=')}" if query else "")


# When the broker goes away Kombu would give waiting messages back through the connection that was
# lost, which ends the worker. Beat sends every task again within its period.
Channel.do_restore = False

app = Celery("console")
app.config_from_object(
    {
        "broker_url": broker_url(os.environ.get("REDIS_URL", "redis://127.0.0.1:6379/0")),
        "broker_connection_retry_on_startup": True,
        "broker_connection_max_retries": None,
        "task_ignore_result": True,
        # Late acknowledgements would end the worker in the same way.
        "task_acks_late": False,
        "task_time_limit": 300,
        "task_soft_time_limit": 240,
        "worker_prefetch_multiplier": 1,
        "worker_max_tasks_per_child": 10_000,
        "timezone": "UTC",
        "beat_schedule": {
            # A round that a busy worker did not get to in five seconds is not worth catching up.
            "reap": {"task": "sandboxes.reap", "schedule": 1.0, "options": {"expires": 5}},
            # Totals are cumulative: a round that is late or lost is made up for by the next.
            "usage": {
                "task": "sandboxes.usage.collect",
                "schedule": 3.0,
                "options": {"expires": 5},
            },
            "alerts": {
                "task": "sandboxes.usage.alert",
                "schedule": 5.0,
                "options": {"expires": 10},
            },
            "signals": {
                "task": "sandboxes.signals.look",
                "schedule": 3.0,
                "options": {"expires": 5},
            },
            "words": {
                "task": "timeline.index_words",
                "schedule": 2.0,
                "options": {"expires": 5},
            },
            "spans": {
                "task": "sandboxes.spans.send",
                "schedule": 5.0,
                "options": {"expires": 5},
            },
            # Retries, and whatever a worker was not told of when it was committed.
            "webhooks": {
                "task": "sandboxes.webhooks.send",
                "schedule": 2.0,
                "options": {"expires": 5},
            },
            "sessions-clear": {"task": "accounts.sessions.clear", "schedule": 86_400.0},
            "retention": {"task": "sandboxes.retention.apply", "schedule": 3600.0},
            "webhooks-prune": {"task": "sandboxes.webhooks.prune", "schedule": 3600.0},
        },
    }
)
app.autodiscover_tasks(
    [
        "accounts",
        "console",
        "sandboxes",
        "sandboxes.signals",
        "sandboxes.spans",
        "sandboxes.usage",
        "sandboxes.webhooks",
        "timeline",
    ]
)
# The tail of the event streams lives as long as the worker, not as long as a broker connection.
app.steps["worker"].add("timeline.bootstep.TailStep")


def keep_django_logging(**_: Any) -> None:
    """Celery would replace the handlers of ``console.logs``; being connected stops it."""


setup_logging.connect(keep_django_logging, weak=False)


tasks.connect()


def say_beat_runs(**_: Any) -> None:
    """Whoever started beat with ORKESTR_BEAT_PIDFILE learns that it has begun."""
    if path := os.environ.get("ORKESTR_BEAT_PIDFILE"):
        Path(path).write_text(str(os.getpid()))


beat_init.connect(say_beat_runs, weak=False)
