"""Work that one process does at any moment, whichever of the workers it is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum

from django.db import connection


class Duty(IntEnum):
    """Numbers of advisory locks; no two are the same in one database."""

    REAPING = 0x6F726B72
    SENDING = 0x77686B73


@contextmanager
def alone(work: Duty) -> Iterator[bool]:
    """Whether this process is the one. As long as its connection lives, no other is."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_try_advisory_lock(%s)", [work.value])
        mine = bool(cursor.fetchone()[0])
        try:
            yield mine
        finally:
            if mine:
                cursor.execute("SELECT pg_advisory_unlock(%s)", [work.value])
