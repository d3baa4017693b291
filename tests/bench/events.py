"""How quick and how wide the event path is."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import IO

import psycopg
from django.db import connection

from tests.bench.platform import Bench
from tests.bench.report import Row, milliseconds, quantile
from tests.bench.writer import event
from timeline.log import to_line
from timeline.store import COPY_HEADER, COPY_TRAILER

VIEWERS, RATE = 100, 200
WIDTH = 180


def start(module: str, *arguments: object) -> subprocess.Popen[str]:
    """A helper process of the bench."""
    command = [sys.executable, "-m", f"tests.bench.{module}", *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def line(process: subprocess.Popen[str]) -> str:
    """The next line it prints."""
    pipe: IO[str] | None = process.stdout
    assert pipe is not None
    text = pipe.readline()
    assert text, "a helper of the bench died; its complaint is above"
    return text.strip()


def end(*processes: subprocess.Popen[str]) -> None:
    for process in processes:
        process.kill()
        process.wait(10)


def append_to_frame(bench: Bench) -> list[Row]:
    """From the host's append to the frame in each of 100 sockets."""
    sandbox_id, seconds = bench.past_sandbox(), bench.seconds(20)
    url = f"{bench.stack.url}/ws/sandboxes/{sandbox_id}/timeline/".replace("http", "ws", 1)
    with tempfile.TemporaryDirectory() as folder:
        viewers = start("viewers", url, bench.session_cookie(), VIEWERS, seconds + 2)
        try:
            assert line(viewers) == "ready"
            arguments = (folder, bench.stack.redis_url, seconds, RATE, WIDTH, sandbox_id)
            writer = start("writer", *arguments)
            written = json.loads(line(writer))
            late = json.loads(line(viewers))
        finally:
            end(viewers, writer)
    expected = written["events"] * VIEWERS
    p50, p99 = statistics.median(late), quantile(late, 0.99)
    return [
        Row(
            what=f"host's append → frame, {VIEWERS} websocket viewers, {RATE} events/s",
            measured=f"{milliseconds(late)}; {len(late):,} of {expected:,} delivered",
            against="-",
            target="p50 ≤ 25 ms, p99 ≤ 80 ms",
            met=p50 <= 0.025 and p99 <= 0.080 and len(late) == expected,
            note="stored in PostgreSQL before it is shown; writer and viewers share the cores",
        )
    ]


def stored(bench: Bench) -> list[Row]:
    """Events appended to journals until they are stored, beside COPY of the same rows alone."""
    ids, seconds = [bench.past_sandbox() for _ in range(20)], bench.seconds(60)
    alone = copy_alone(bench, bench.seconds(10))
    with tempfile.TemporaryDirectory() as folder:
        arguments = (folder, bench.stack.redis_url, seconds, 0, WIDTH, *ids)
        writer = start("writer", *arguments)
        try:
            written = json.loads(line(writer))
        finally:
            end(writer)
    kept, gapless = count(ids)
    rate = written["events"] / written["seconds"]
    return [
        Row(
            what=f"events appended → stored, sustained for {seconds:.0f} s",
            measured=f"{rate:,.0f}/s; {kept:,} of {written['events']:,} kept, "
            f"{'each once' if gapless else 'with gaps'}",
            against=f"COPY alone: {alone:,.0f}/s",
            target="≥ 15 000/s, none lost, none twice",
            met=rate >= 15_000 and kept == written["events"] and gapless,
        )
    ]


def count(ids: Sequence[str]) -> tuple[int, bool]:
    """How many events these sandboxes have, and whether each has 1…N once."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*), count(DISTINCT seq), max(seq) FROM timeline_event"
            " WHERE sandbox_id = ANY(%s) GROUP BY sandbox_id",
            [list(ids)],
        )
        rows = cursor.fetchall()
    return sum(row[0] for row in rows), all(row[0] == row[1] == row[2] for row in rows)


def copy_alone(bench: Bench, seconds: float) -> float:
    """Rows a second of binary COPY into the same table, ready-made rows, one connection."""
    from timeline.store import _copy_rows, _row

    sandbox_id = bench.past_sandbox()
    ready = [_row(to_line(event(number, "x" * WIDTH))) for number in range(1000)]
    first, began = 1, time.monotonic()
    with psycopg.connect(bench.stack.database_url, autocommit=True) as plain:
        while time.monotonic() < began + seconds:
            body = b"".join(_copy_rows(sandbox_id, first, ready))
            with plain.cursor() as cursor, cursor.copy(_COPY) as copy:
                copy.write(COPY_HEADER + body + COPY_TRAILER)
            first += len(ready)
    return (first - 1) / (time.monotonic() - began)


_COPY = (
    "COPY timeline_event (sandbox_id, seq, at, kind, actor, span, data) FROM STDIN (FORMAT binary)"
)
MEASUREMENTS = {"frame": append_to_frame, "stored": stored}
