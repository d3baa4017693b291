"""The log's tests: committed rows of sandboxes of their own, and a Redis database apart."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection as django_connection
from psycopg import Connection
from pytest_django import DjangoDbBlocker
from redis import Redis
from ulid import ULID

from timeline.bootstep import connect

_DATABASE = 7


@pytest.fixture
def sandbox_id() -> str:
    return f"sbx_{ULID()}"


@pytest.fixture
def hose_url(redis_url: str) -> str:
    """Redis for the log alone: no worker of a stack reads it. Empty at the start of a test."""
    url = f"{redis_url.partition('?')[0]}?db={_DATABASE}"
    with Redis.from_url(url) as redis:
        redis.flushdb()
    return url


@pytest.fixture
def redis(hose_url: str) -> Iterator[Redis]:
    with Redis.from_url(hose_url, protocol=2) as redis:
        yield redis


@pytest.fixture
def db(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Here without a surrounding transaction: other threads and processes take part."""
    with django_db_blocker.unblock():
        yield
        django_connection.close()


@pytest.fixture
def database(db: None) -> Iterator[Connection[Any]]:
    """A connection as the tail has it."""
    with connect() as connection:
        yield connection
