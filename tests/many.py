"""Accounts with many sandboxes, as rows: what lists and indexes are tried on."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from typing import Any

import orjson
from django.db import connection
from ulid import ULID

_FILL = """
INSERT INTO sandboxes_sandbox (
    id, account_id, actor, status, template, size, cpu, memory_mb, disk_mb, network, isolation,
    added_domains, volume_name, region, node_id, timeout_seconds, on_timeout, auto_resume,
    preview_auth, env_names, metadata, created_at, started_at, expires_at, ended_at, turned_at,
    snapshot_id, survives_machine_restart, why_unsaved, reason, detail
)
SELECT id, %(account)s, '{"type": "system"}', 'terminated',
    (ARRAY['debian-12', 'python-3.12', 'node-22'])[1 + n %% 3], 'small', 1, 1024, 1024,
    CASE WHEN n %% 5 = 0 THEN 'restricted' ELSE 'off' END, 'runc', '{}', '', 'local', 'local', 60,
    'kill', false, false, '{}', metadata::jsonb, at, at, at, at, at, '', false, '', 'expired', ''
FROM unnest(%(ids)s::text[], %(metadata)s::text[], %(at)s::timestamptz[])
    WITH ORDINALITY AS t(id, metadata, at, n)
"""


def fill_sandboxes(account_id: str, *, count: int) -> list[str]:
    """Ended ones, made evenly over the last 60 days; their ids, the oldest first.

    Each has ``number`` and one of 100 ``team`` in its metadata.
    """
    ends, whole = datetime.now(UTC) - timedelta(minutes=5), timedelta(days=60)
    moments = [ends - whole * (count - number) / count for number in range(count)]
    ids = sorted(_id_at(moment) for moment in moments)
    metadata = [
        orjson.dumps({"number": str(number), "team": f"team-{number % 100}"}).decode()
        for number in range(count)
    ]
    with connection.cursor() as cursor:
        values: dict[str, Any] = {"account": account_id, "ids": ids}
        values |= {"metadata": metadata, "at": moments}
        cursor.execute(_FILL, values)
        # What autovacuum does by and by.
        cursor.execute("SELECT gin_clean_pending_list('sandbox_text')")
        cursor.execute("SELECT gin_clean_pending_list('sandbox_metadata')")
        cursor.execute("ANALYZE sandboxes_sandbox")
    return ids


def _id_at(moment: datetime) -> str:
    milliseconds = int(moment.timestamp() * 1000)
    return f"sbx_{ULID(milliseconds.to_bytes(6, 'big') + os.urandom(10))}"
