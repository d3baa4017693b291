from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from psycopg import Connection

from timeline.events import Kind
from timeline.selectors import (
    event_at,
    events_after,
    events_before,
    events_range,
    files_written,
    last_seq,
    last_seqs,
    lifecycle,
    spans_started,
    verify,
    writes_before,
)

LONG = 50_000


@pytest.fixture
def log(database: Connection[Any], sandbox_id: str) -> str:
    """Commands of a hundred events each: started, 98 of output, exited; every 10 000th a file."""
    database.execute(
        """
        INSERT INTO timeline_event (sandbox_id, seq, at, kind, actor, span, data)
        SELECT %s, n, to_timestamp(n),
               CASE WHEN n %% 10000 = 50 THEN 'file.written'
                    WHEN n %% 100 = 1 THEN 'command.started'
                    WHEN n %% 100 = 0 THEN 'command.exited' ELSE 'command.output' END,
               '{"type": "system"}', 'cmd_' || (n - 1) / 100, jsonb_build_object('number', n)
        FROM generate_series(1, %s) AS n
        """,
        (sandbox_id, LONG),
    )
    database.execute(
        "INSERT INTO timeline_head (sandbox_id, seq, journal) VALUES (%s, %s, 0)",
        (sandbox_id, LONG),
    )
    database.execute("ANALYZE timeline_event")
    return sandbox_id


def seqs(events: list[Any]) -> list[int]:
    return [event.seq for event in events]


def test_pages_go_both_ways(log: str) -> None:
    assert seqs(events_before(sandbox_id=log, limit=3)) == [LONG - 2, LONG - 1, LONG]
    assert seqs(events_before(sandbox_id=log, before=10, limit=3)) == [7, 8, 9]
    assert seqs(events_before(sandbox_id=log, before=3, limit=10)) == [1, 2]
    assert seqs(events_after(sandbox_id=log, after=10, limit=3)) == [11, 12, 13]
    assert seqs(events_after(sandbox_id=log, limit=2)) == [1, 2]
    assert seqs(events_after(sandbox_id=log, after=LONG)) == []
    assert seqs(events_range(sandbox_id=log, first=5, last=8)) == [5, 6, 7, 8]


def test_an_event_comes_back_whole(log: str) -> None:
    (event,) = events_range(sandbox_id=log, first=50, last=50)
    assert (event.at_iso, event.time) == ("1970-01-01T00:00:50.000000+00:00", "00:00:50.000")
    assert (event.kind, event.span, event.data) == ("file.written", "cmd_0", {"number": 50})
    assert (event.actor.type, event.family) == ("system", "file")


def test_pages_can_hold_some_kinds_only(log: str) -> None:
    files = events_after(sandbox_id=log, kinds=[Kind.FILE_WRITTEN])
    assert seqs(files) == [50, 10_050, 20_050, 30_050, 40_050]
    kinds = [Kind.COMMAND_STARTED, Kind.COMMAND_EXITED, Kind.FILE_WRITTEN]
    assert seqs(events_before(sandbox_id=log, before=10_101, kinds=kinds, limit=3)) == [
        10_001,
        10_050,
        10_100,
    ]
    assert seqs(events_after(sandbox_id=log, after=99, kinds=["command.output"], limit=2)) == [
        102,
        103,
    ]
    assert events_after(sandbox_id=log, kinds=["no.such"]) == []


def test_where_a_log_ends(log: str) -> None:
    assert last_seq(sandbox_id=log) == LONG
    assert last_seq(sandbox_id="sbx_unknown") == 0
    assert last_seqs(sandbox_ids=[log, "sbx_unknown"]) == {log: LONG}


def test_the_starts_of_spans(log: str) -> None:
    found = spans_started(sandbox_id=log, spans=["cmd_3", "cmd_400", "cmd_none"])
    assert {span: event.seq for span, event in found.items()} == {"cmd_3": 301, "cmd_400": 40_001}


def test_gaps_are_found(log: str, database: Connection[Any]) -> None:
    assert verify(sandbox_id=log).gapless
    gone = [1, 2, 40, 41, 42, 999, LONG]
    database.execute(
        "DELETE FROM timeline_event WHERE sandbox_id = %s AND seq = ANY(%s)", (log, gone)
    )
    found = verify(sandbox_id=log)
    assert found.missing == ((1, 2), (40, 42), (999, 999), (LONG, LONG))
    assert verify(sandbox_id=log, first=41, last=60).missing == ((41, 42),)
    assert verify(sandbox_id=log, first=100, last=200).gapless
    assert verify(sandbox_id="sbx_unknown").gapless


@pytest.mark.parametrize(
    "select",
    [
        lambda log: events_before(sandbox_id=log),
        lambda log: events_before(sandbox_id=log, before=25_000),
        lambda log: events_after(sandbox_id=log, after=25_000),
        lambda log: events_range(sandbox_id=log, first=25_000, last=25_100),
        lambda log: events_before(sandbox_id=log, kinds=["file.written"]),
        lambda log: events_after(sandbox_id=log, kinds=["file.written", "command.exited"]),
        lambda log: events_after(sandbox_id=log, kinds=["command.output"]),
        lambda log: spans_started(sandbox_id=log, spans=["cmd_3", "cmd_4"]),
        lambda log: lifecycle(sandbox_id=log),
        lambda log: verify(sandbox_id=log, first=25_000, last=25_100),
    ],
)
def test_a_page_costs_the_same_however_long_the_log_is(
    log: str, select: Callable[[str], Any]
) -> None:
    with CaptureQueriesContext(connection) as queries:
        select(log)
    (query,) = queries.captured_queries
    with connection.cursor() as cursor:
        cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {query['sql']}")
        ((explained,),) = cursor.fetchall()
    plan = explained[0]["Plan"]
    assert "Seq Scan" not in {node["Node Type"] for node in nodes(plan)}
    assert plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] < 300


def nodes(plan: dict[str, Any]) -> list[dict[str, Any]]:
    return [plan, *(node for child in plan.get("Plans", ()) for node in nodes(child))]


@pytest.fixture
def writes(database: Connection[Any], sandbox_id: str) -> str:
    """Two thousand writes: every tenth of one file, the others each of its own."""
    database.execute(
        """
        INSERT INTO timeline_event (sandbox_id, seq, at, kind, actor, data)
        SELECT %s, n, to_timestamp(n), 'file.written', '{"type": "system"}', jsonb_build_object(
            'path', CASE WHEN n %% 10 = 0 THEN '/tenth' ELSE '/' || repeat('x', 4000) || n END,
            'size', n)
        FROM generate_series(1, 2000) AS n
        """,
        (sandbox_id,),
    )
    database.execute("ANALYZE timeline_event")
    return sandbox_id


def test_a_files_writes_are_paged_by_an_index(writes: str) -> None:
    assert seqs(writes_before(sandbox_id=writes, path="/tenth", limit=3)) == [2000, 1990, 1980]
    assert seqs(writes_before(sandbox_id=writes, path="/tenth", before=30, limit=3)) == [20, 10]
    assert seqs(writes_before(sandbox_id=writes, path="/" + "x" * 4000 + "7")) == [7]
    assert writes_before(sandbox_id=writes, path="/nothing") == []
    with CaptureQueriesContext(connection) as queries:
        writes_before(sandbox_id=writes, path="/tenth", before=1000, limit=3)
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN " + queries[0]["sql"])
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "timeline_event_written" in plan, plan
    assert "Sort" not in plan, plan


def test_the_files_written_last_are_listed_once_each(writes: str) -> None:
    newest, second = files_written(sandbox_id=writes, limit=2)
    assert (newest.path, newest.size, newest.seq, newest.writes) == ("/tenth", 2000, 2000, 100)
    assert (second.seq, second.writes) == (1999, 1)
    event = event_at(sandbox_id=writes, seq=1999)
    assert event is not None
    assert event.data["path"] == second.path
    assert event_at(sandbox_id=writes, seq=9999) is None
