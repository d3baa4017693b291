"""What a run used over its whole length, from samples that were kept of it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from django.db import connection
from django.utils import timezone

from sandboxes.models import Sandbox
from sandboxes.usage.services import SLOT_SECONDS

POINTS: Final = 400
# One index step for each point, however long the run was.
_TOTALS: Final = """
    WITH ends AS (
        SELECT min(slot) AS first, max(slot) AS last FROM usage_sample WHERE sandbox_id = %(id)s
    ), each AS (
        SELECT s.* FROM ends
        CROSS JOIN LATERAL (
            SELECT generate_series(first, last, %(slot)s * greatest(
                1, ceil((last - first) / (%(slot)s * %(points)s)::float)::bigint
            )) AS upto UNION SELECT last
        ) AS marks
        CROSS JOIN LATERAL (
            SELECT at, generation, cpu_us, memory_kib_ms FROM usage_sample
            WHERE sandbox_id = %(id)s AND slot <= marks.upto ORDER BY slot DESC LIMIT 1
        ) AS s
    )
    SELECT DISTINCT at, generation, cpu_us, memory_kib_ms FROM each ORDER BY at
"""

_LATELY: Final = """
    SELECT w.id, s.at, s.generation, s.cpu_us, s.memory_kib_ms
    FROM unnest(%(ids)s::text[]) AS w(id)
    CROSS JOIN LATERAL (
        SELECT * FROM usage_sample
        WHERE sandbox_id = w.id AND at > %(since)s ORDER BY slot DESC LIMIT 2
    ) AS s ORDER BY s.at
"""
_LATE: Final = timedelta(seconds=45)


@dataclass(frozen=True, slots=True)
class UsagePoint:
    """The mean over the time from ``began`` to ``at``: busy cores, and bytes of memory."""

    began: datetime
    at: datetime
    cores: float
    memory: int


@dataclass(frozen=True, slots=True)
class Totals:
    """What a meter had counted at a moment; ``generation`` as in ``usage.models.Sample``."""

    at: datetime
    generation: int
    cpu_us: int
    memory_kib_ms: int


def usage_history(sandbox: Sandbox, *, points: int = POINTS) -> list[UsagePoint]:
    """About that many points from a run's begin to its last sample, oldest first.

    A sample is kept every ten seconds; a run that was shorter has its last one.
    """
    with connection.cursor() as cursor:
        values: dict[str, Any] = {"id": sandbox.id, "slot": SLOT_SECONDS, "points": points}
        cursor.execute(_TOTALS, values)
        totals = [Totals(*row) for row in cursor.fetchall()]
    if totals:
        totals.insert(0, Totals(sandbox.created_at, totals[0].generation, 0, 0))
    return usage_between(totals)


def usage_between(totals: Iterable[Totals]) -> list[UsagePoint]:
    """From each to the next. Between two generations of a meter nothing is known."""
    return [
        UsagePoint(
            was.at,
            now.at,
            (now.cpu_us - was.cpu_us) / micros,
            (now.memory_kib_ms - was.memory_kib_ms) * 1024 * 1000 // micros,
        )
        for was, now in pairwise(totals)
        if was.generation == now.generation
        and (micros := round((now.at - was.at).total_seconds() * 1e6)) > 0
    ]


def cores_lately(*, sandbox_ids: Sequence[str]) -> dict[str, float]:
    """How many cores each kept busy between its last two samples; those without are left out."""
    totals: dict[str, list[Totals]] = defaultdict(list)
    with connection.cursor() as cursor:
        cursor.execute(_LATELY, {"ids": list(sandbox_ids), "since": timezone.now() - _LATE})
        for sandbox_id, *values in cursor.fetchall():
            totals[sandbox_id].append(Totals(*values))
    points = {each: usage_between(known) for each, known in totals.items()}
    return {each: found[-1].cores for each, found in points.items() if found}
