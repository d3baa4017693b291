"""Celery's tasks: how many, how long, and when each succeeded last."""

from __future__ import annotations

import time
from typing import Any

from celery.signals import task_postrun, task_prerun
from prometheus_client import Counter, Gauge, Histogram

from timeline.metrics import SECONDS

tasks = Counter(
    "orkestr_tasks_total", "Background tasks that ended, by how they did.", ["task", "outcome"]
)
task_seconds = Histogram(
    "orkestr_task_seconds", "How long background tasks took.", ["task"], buckets=SECONDS
)
last_success = Gauge(
    "orkestr_task_last_success_timestamp_seconds",
    "When a background task succeeded last; an old one means that a worker or beat is ill.",
    ["task"],
    multiprocess_mode="max",
)
_began: dict[str, float] = {}


def begin(task_id: str = "", **_: Any) -> None:
    """Celery's signal before a task."""
    _began[task_id] = time.perf_counter()


def end(task: Any = None, task_id: str = "", state: str | None = None, **_: Any) -> None:
    """Celery's signal behind a task, however it ended."""
    name = task.name if task is not None else "unknown"
    outcome = "succeeded" if state == "SUCCESS" else "failed"
    tasks.labels(name, outcome).inc()
    task_seconds.labels(name).observe(time.perf_counter() - _began.pop(task_id, 0.0))
    if outcome == "succeeded":
        last_success.labels(name).set(time.time())


def connect() -> None:
    """Listen; for the Celery application."""
    task_prerun.connect(begin, weak=False)
    task_postrun.connect(end, weak=False)
