"""Counts what the host's meters have moved. Nothing is counted twice, whoever dies and when.

The host tells cumulative totals. What is stored of a meter moves up to them in the transaction
that adds the difference to the sandbox's row of the hour, under the lock of the meter's row. The
same totals again, or older ones from a slower worker, make no difference.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime
from typing import Any, Final

from asgiref.sync import async_to_sync
from django.db import connection, transaction
from django.utils import timezone

from sandboxes.host.client import HostClient
from sandboxes.host.types import MeterInfo

_BATCH: Final = 500

_BEGIN: Final = """
INSERT INTO usage_meter (sandbox_id, account_id, generation, cpu_us, memory_kib_ms, ended)
SELECT id, account_id, 0, 0, 0, false FROM sandboxes_sandbox WHERE id = ANY(%s) ORDER BY id
ON CONFLICT (sandbox_id) DO NOTHING
"""

_LOCK: Final = """
SELECT 1 FROM usage_meter WHERE sandbox_id = ANY(%s) ORDER BY sandbox_id FOR UPDATE
"""

# 3.6e9 µs are an hour of CPU; 2**20 KiB for 3.6e6 ms are an hour of a GB.
_COUNT: Final = """
WITH told AS (
    SELECT * FROM unnest(
        %(ids)s::text[], %(generations)s::bigint[], %(cpu)s::bigint[], %(memory)s::bigint[],
        %(ended)s::bool[]
    ) AS t (sandbox_id, generation, cpu_us, memory_kib_ms, ended)
), moved AS (
    SELECT t.*, m.account_id, b.size,
           coalesce(b.template, '') AS template, coalesce(b.token_id, '') AS token_id,
           t.cpu_us - CASE WHEN same THEN m.cpu_us ELSE 0 END AS cpu_more,
           t.memory_kib_ms - CASE WHEN same THEN m.memory_kib_ms ELSE 0 END AS memory_more
    FROM told t
    JOIN usage_meter m USING (sandbox_id)
    CROSS JOIN LATERAL (SELECT m.generation = t.generation AS same) AS s
    LEFT JOIN sandboxes_sandbox b ON b.id = t.sandbox_id
    WHERE t.generation > m.generation
       OR (same AND t.cpu_us >= m.cpu_us AND t.memory_kib_ms >= m.memory_kib_ms)
), priced AS (
    SELECT v.*, round(
        v.cpu_more * coalesce(z.eur_per_cpu_hour, 0) / 3600000000
        + v.memory_more * coalesce(z.eur_per_gb_hour, 0) / (1048576 * 3600000::numeric), 12) AS eur
    FROM moved v LEFT JOIN accounts_size z ON z.name = v.size
), counted AS (
    UPDATE usage_meter m
    SET generation = p.generation, cpu_us = p.cpu_us, memory_kib_ms = p.memory_kib_ms,
        ended = m.ended OR p.ended
    FROM priced p WHERE m.sandbox_id = p.sandbox_id
), used AS (
    SELECT p.*, date_trunc('hour', %(at)s::timestamptz, 'UTC') AS hour,
           (%(at)s::timestamptz AT TIME ZONE 'UTC')::date AS day,
           date_trunc('month', %(at)s::timestamptz AT TIME ZONE 'UTC')::date AS month
    FROM priced p WHERE p.cpu_more > 0 OR p.memory_more > 0
), spent AS (
    INSERT INTO usage_spending AS s (account_id, eur, month, month_eur)
    SELECT account_id, sum(eur), month, sum(eur) FROM used
    GROUP BY account_id, month ORDER BY account_id
    ON CONFLICT (account_id) DO UPDATE
    SET eur = s.eur + EXCLUDED.eur, month = greatest(s.month, EXCLUDED.month),
        month_eur = CASE WHEN s.month > EXCLUDED.month THEN s.month_eur
                         WHEN s.month = EXCLUDED.month THEN s.month_eur + EXCLUDED.month_eur
                         ELSE EXCLUDED.month_eur END
), by_day AS (
    INSERT INTO usage_dayusage AS d
        (account_id, day, template, token_id, cpu_us, memory_kib_ms, eur)
    SELECT account_id, day, template, token_id, sum(cpu_more), sum(memory_more), sum(eur)
    FROM used GROUP BY account_id, day, template, token_id
    ORDER BY account_id, day, template, token_id
    ON CONFLICT (account_id, day, template, token_id) DO UPDATE
    SET cpu_us = d.cpu_us + EXCLUDED.cpu_us, eur = d.eur + EXCLUDED.eur,
        memory_kib_ms = d.memory_kib_ms + EXCLUDED.memory_kib_ms
), by_run AS (
    INSERT INTO usage_runusage AS r
        (account_id, month, sandbox_id, template, token_id, cpu_us, memory_kib_ms, eur)
    SELECT account_id, month, sandbox_id, template, token_id, cpu_more, memory_more, eur
    FROM used ORDER BY sandbox_id
    ON CONFLICT (account_id, month, sandbox_id) DO UPDATE
    SET cpu_us = r.cpu_us + EXCLUDED.cpu_us, eur = r.eur + EXCLUDED.eur,
        memory_kib_ms = r.memory_kib_ms + EXCLUDED.memory_kib_ms
)
INSERT INTO usage_usage AS u (account_id, sandbox_id, hour, cpu_us, memory_kib_ms, eur)
SELECT account_id, sandbox_id, hour, cpu_more, memory_more, eur FROM used
ON CONFLICT (sandbox_id, hour) DO UPDATE
SET cpu_us = u.cpu_us + EXCLUDED.cpu_us, eur = u.eur + EXCLUDED.eur,
    memory_kib_ms = u.memory_kib_ms + EXCLUDED.memory_kib_ms
"""

# The first of ten seconds stays, and the last word of a run has a place of its own.
_SAMPLE: Final = """
INSERT INTO usage_sample (sandbox_id, slot, at, generation, cpu_us, memory_kib_ms)
SELECT t.sandbox_id, %s + t.ended::int, %s, t.generation, t.cpu_us, t.memory_kib_ms
FROM unnest(%s::text[], %s::bigint[], %s::bigint[], %s::bigint[], %s::bool[])
    AS t (sandbox_id, generation, cpu_us, memory_kib_ms, ended)
JOIN sandboxes_sandbox b ON b.id = t.sandbox_id
ON CONFLICT (sandbox_id, slot) DO NOTHING
"""
SLOT_SECONDS: Final = 10


def usage_collect(*, host: HostClient) -> None:
    """One round: ask the host, count what is new, let it forget what has ended. ``HostError``.

    May run any number of times at once.
    """
    at = timezone.now()
    for batch in _batches(async_to_sync(host.meters)()):
        usage_count(meters=batch, at=at)
        ended = [one.sandbox_id for one in batch if one.ended]
        if ended:
            async_to_sync(host.meters_stored)(ended)


def _batches(meters: Sequence[MeterInfo]) -> Iterator[Sequence[MeterInfo]]:
    for start in range(0, len(meters), _BATCH):
        yield meters[start : start + _BATCH]


@transaction.atomic
def usage_count(*, meters: Sequence[MeterInfo], at: datetime) -> None:
    """Add what these have moved to the rows of the hour, day and month of ``at``, and keep them as
    samples.

    A stray without a row pays nothing, and nobody. Locking and counting are two statements on
    purpose: the second sees what whoever held the locks has stored.
    """
    ids = [one.sandbox_id for one in meters]
    generations = [one.generation for one in meters]
    cpu = [one.cpu_us for one in meters]
    memory = [one.memory_kib_ms for one in meters]
    ended = [one.ended for one in meters]
    with connection.cursor() as cursor:
        cursor.execute(_BEGIN, [ids])
        cursor.execute(_LOCK, [ids])
        told: dict[str, Any] = {
            "ids": ids,
            "generations": generations,
            "cpu": cpu,
            "memory": memory,
        }
        cursor.execute(_COUNT, {**told, "ended": ended, "at": at})
        slot = int(at.timestamp()) // SLOT_SECONDS * SLOT_SECONDS
        cursor.execute(_SAMPLE, [slot, at, ids, generations, cpu, memory, ended])
