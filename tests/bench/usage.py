"""The Usage page of an account with years of usage behind it."""

from __future__ import annotations

import statistics
import time
from datetime import UTC, datetime, timedelta

import httpx
import psycopg

from tests.bench.platform import Bench
from tests.bench.report import Row, milliseconds

ROWS = 10_000_000
HOURS = 50
"""Of each sandbox; two hundred days have begun one every so many seconds."""

_SECONDS = 1800
# As the counting leaves them: a row a sandbox and hour, and the sums of days and of months.
_FILL = (
    """
    CREATE TEMPORARY TABLE run AS
    SELECT number, 'sbx_' || lpad(number::text, 26, '0') AS sandbox_id,
           (ARRAY['debian-12', 'python-3.12', 'node-22', 'code-interpreter'])[1 + number %% 4]
               AS template,
           CASE WHEN number %% 3 = 0 THEN '' ELSE 'tok_bench' || number %% 20 END AS token_id,
           date_trunc('hour', now()) - number * (interval '200 days' / %(runs)s) AS began
    FROM generate_series(1, %(runs)s) AS number
    """,
    """
    INSERT INTO usage_usage (account_id, sandbox_id, hour, cpu_us, memory_kib_ms, eur)
    SELECT %(account)s, sandbox_id, began - hour * interval '1 hour',
           1000000::bigint * (number %% 900), 1000000000::bigint * (number %% 90),
           0.0001 * (number %% 90)
    FROM run CROSS JOIN generate_series(0, %(hours)s - 1) AS hour
    """,
    """
    INSERT INTO usage_dayusage (account_id, day, template, token_id, cpu_us, memory_kib_ms, eur)
    SELECT %(account)s, (hour AT TIME ZONE 'UTC')::date, template, token_id,
           sum(cpu_us), sum(memory_kib_ms), sum(eur)
    FROM usage_usage JOIN run USING (sandbox_id) GROUP BY 2, 3, 4
    """,
    """
    INSERT INTO usage_runusage
        (account_id, month, sandbox_id, template, token_id, cpu_us, memory_kib_ms, eur)
    SELECT %(account)s, date_trunc('month', hour AT TIME ZONE 'UTC')::date, sandbox_id, template,
           token_id, sum(cpu_us), sum(memory_kib_ms), sum(eur)
    FROM usage_usage JOIN run USING (sandbox_id) GROUP BY 2, 3, 4, 5
    """,
    "INSERT INTO usage_spending (account_id, eur, month, month_eur) "
    "SELECT %(account)s, sum(eur), date_trunc('month', now()), 0 FROM usage_usage "
    "ON CONFLICT (account_id) DO UPDATE SET eur = EXCLUDED.eur",
    "ANALYZE usage_usage, usage_dayusage, usage_runusage",
)


def usage_page(bench: Bench) -> list[Row]:
    """The whole page over HTTP, this month's and an earlier one's in turn."""
    rows = bench.many(ROWS)
    values = {"account": bench.cast.account.id, "hours": HOURS, "runs": rows // HOURS}
    with psycopg.connect(bench.stack.database_url, autocommit=True) as connection:
        connection.execute(f"SET statement_timeout = '{_SECONDS}s'")
        for statement in _FILL:
            connection.execute(statement, values if "%(" in statement else None)
        found = connection.execute("SELECT count(*) FROM usage_usage").fetchone()
    assert found and found[0] >= rows // HOURS * HOURS
    before = f"{datetime.now(UTC) - timedelta(days=40):%Y-%m}"
    times: list[float] = []
    headers = {"Cookie": bench.session_cookie()}
    with httpx.Client(base_url=bench.stack.url, headers=headers, timeout=30) as client:
        for number in range(bench.many(60) + 4):
            query = {"month": before} if number % 2 else {}
            began = time.perf_counter()
            client.get("/usage/", params=query).raise_for_status()
            if number >= 4:
                times.append(time.perf_counter() - began)
    return [
        Row(
            what=f"usage page over {found[0]:,} usage rows",
            measured=milliseconds(times),
            against="-",
            target="p50 ≤ 150 ms",
            met=statistics.median(times) <= 0.15,
        )
    ]


MEASUREMENTS = {"usage-page": usage_page}
