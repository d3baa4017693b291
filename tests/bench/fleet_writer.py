"""`python -m tests.bench.fleet_writer DATABASE_URL ID…`: have sandboxes be busy, until killed.

Each begins and ends a command a second and has a sample of its use every ten, stored as the tail
and the meter store them. Prints ``ready`` after the first round. A process of its own, so that its
work is not the measured server's.
"""

from __future__ import annotations

import sys
import time
from datetime import UTC, datetime
from itertools import count
from typing import Any

import psycopg

from timeline.events import SYSTEM, Kind, NewEvent
from timeline.log import Batch, to_line
from timeline.store import store

_SAMPLE = """
INSERT INTO usage_sample (sandbox_id, slot, at, generation, cpu_us, memory_kib_ms)
VALUES (%s, %s, %s, 1, %s, %s) ON CONFLICT DO NOTHING
"""


def main(database_url: str, ids: list[str]) -> None:
    with psycopg.connect(database_url, autocommit=True) as connection:
        for number in count():
            began = time.monotonic()
            store(connection, [_command(one, number) for one in ids])
            if number % 10 == 0:
                _sample(connection, ids, number)
            if number == 0:
                print("ready", flush=True)
            time.sleep(max(0.0, 1 - (time.monotonic() - began)))


def _command(sandbox_id: str, number: int) -> Batch:
    span = f"cmd_{sandbox_id}_{number}"
    code = number % 3
    events = [
        NewEvent(Kind.COMMAND_STARTED, {"command": f"make step-{number}"}, SYSTEM, span),
        NewEvent(Kind.COMMAND_OUTPUT, {"stream": "stdout", "text": "x" * 400}, SYSTEM, span),
        NewEvent(Kind.COMMAND_EXITED, {"exit_code": code}, SYSTEM, span),
    ]
    lines = b"\n".join(to_line(event) for event in events)
    first = number * len(events) + 1
    return Batch(sandbox_id, first - 1, first, len(events), lines)


def _sample(connection: psycopg.Connection[Any], ids: list[str], number: int) -> None:
    at = datetime.now(UTC)
    slot = int(at.timestamp()) // 10 * 10
    rows = [
        (one, slot, at, (number + place % 7) * 400_000, (number + 1) * 300_000_000)
        for place, one in enumerate(ids)
    ]
    with connection.cursor() as cursor:
        cursor.executemany(_SAMPLE, rows)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2:])
