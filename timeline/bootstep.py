"""Starts the tail with a Celery worker and stops it with it."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import psycopg
from celery import bootsteps
from django.conf import settings
from django.db import close_old_connections, connection
from django.utils.module_loading import import_string
from psycopg import Connection

from timeline.events import Event
from timeline.observers import Observer, Observers
from timeline.selectors import lifecycle
from timeline.tail import Tail

log = logging.getLogger(__name__)

_DJANGO_ONLY = ("context", "cursor_factory", "prepare_threshold", "pool")
_SESSION = "SET lock_timeout = '10s'; SET statement_timeout = '30s'"


def connect() -> Connection[Any]:
    """A connection of the tail's own to Django's database: autocommit, plain psycopg."""
    params = dict(connection.get_connection_params())
    for name in _DJANGO_ONLY:
        params.pop(name, None)
    raw: Connection[Any] = psycopg.connect(**{"connect_timeout": 5, **params}, autocommit=True)
    raw.execute(_SESSION)
    return raw


def make_tail() -> Tail:
    """The tail as the settings describe it: REDIS_URL, the database, TIMELINE_OBSERVERS."""
    paths: Sequence[str] = getattr(settings, "TIMELINE_OBSERVERS", ())
    observers = Observers([_with_orm(import_string(path)) for path in paths], recall=recall)
    return Tail(redis_url=settings.REDIS_URL, connect=connect, observers=observers)


def _with_orm(observer: Observer) -> Observer:
    """The thread lives longer than a database connection."""

    def observe(events: Sequence[Event]) -> None:
        close_old_connections()
        try:
            observer(events)
        finally:
            close_old_connections()

    return observe


def recall(sandbox_id: str) -> Sequence[Event]:
    """The lifecycle events of a sandbox, for observers that missed some."""
    close_old_connections()
    try:
        return lifecycle(sandbox_id=sandbox_id)
    finally:
        close_old_connections()


class TailStep(bootsteps.StartStopStep):  # type: ignore[misc]  # Celery ships no types
    """Added to the worker's blueprint, behind the pool, so that no child inherits a socket."""

    requires = ("celery.worker.components:Pool",)

    def __init__(self, parent: Any, **options: Any) -> None:
        super().__init__(parent, **options)
        self._tail: Tail | None = None

    def start(self, parent: Any) -> None:
        """Called once the pool runs."""
        self._tail = make_tail()
        self._tail.start()

    def stop(self, parent: Any) -> None:
        """Called at shutdown, warm or cold; takes five seconds at most."""
        if self._tail and not self._tail.stop():
            log.warning("The tail did not stop in time; what it had in hand is done again")

    terminate = stop
