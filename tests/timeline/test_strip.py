"""A run at a glance, and the event of a moment."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import Any

from psycopg import Connection

from timeline.events import Kind, NewEvent
from timeline.moments import seq_at
from timeline.services import events_append
from timeline.stretches import EVENTS, count_stretches, counted_to
from timeline.strip import BUCKETS, MOST_BARS, Strip, strip_of

FROM = 1_700_000_000


def event(kind: str, second: float, *, span: str | None = None, **data: Any) -> NewEvent:
    return NewEvent(kind, data, span=span, at=int((FROM + second) * 1e6))


def moment(second: float) -> datetime:
    return datetime.fromtimestamp(FROM + second, UTC)


def commands(count: int) -> list[NewEvent]:
    events = []
    for number in range(count):
        span = f"cmd_{number}"
        events.append(event(Kind.COMMAND_STARTED, number, span=span, command=f"step {number}"))
        code = int(number % 10 == 0)
        events.append(event(Kind.COMMAND_EXITED, number + 0.5, span=span, exit_code=code))
    return events


def test_commands_are_bars_until_there_are_too_many(
    database: Connection[Any], sandbox_id: str
) -> None:
    assert strip_of(sandbox_id) == Strip()
    late = event(Kind.COMMAND_EXITED, 4, span="cmd_a", exit_code=None, timed_out=True)
    events_append(
        sandbox_id=sandbox_id,
        events=[
            event(Kind.COMMAND_STARTED, 1, span="cmd_a", command="x" * 200),
            event(Kind.FILE_WRITTEN, 2, path="/a"),
            event(Kind.COMMAND_STARTED, 3, span="cmd_b", command="sleep"),
            late,
            event(Kind.LIMIT_HIT, 5, limit="memory"),
        ],
    )
    strip = strip_of(sandbox_id)
    assert (strip.first, strip.last) == ((FROM + 1) * 1000, (FROM + 5) * 1000)
    assert strip.bars == [
        [1, (FROM + 1) * 1000, (FROM + 4) * 1000, "late", "x" * 90],
        [3, (FROM + 3) * 1000, None, "running", "sleep"],
    ]
    assert strip.marks == [[5, (FROM + 5) * 1000, "limit.hit"]]
    assert strip.ticks == [(FROM + 2) * 1000]

    many = f"{sandbox_id}m"
    events_append(sandbox_id=many, events=commands(MOST_BARS + 200))
    strip = strip_of(many)
    assert strip.bars == []
    assert 0 < len(strip.counts) <= BUCKETS
    assert sum(count for _, _, count, _, _ in strip.counts) == MOST_BARS + 200
    assert sum(failed for _, _, _, failed, _ in strip.counts) == (MOST_BARS + 200) // 10
    assert all(began <= ended for began, ended, *_ in strip.counts)


def test_a_long_run_is_counted_once_and_what_comes_after_it_is_added(
    database: Connection[Any], sandbox_id: str
) -> None:
    count = BUCKETS * EVENTS // 2 + 100
    events_append(sandbox_id=sandbox_id, events=commands(count))
    by_index = strip_of(sandbox_id).counts
    newest = 2 * count
    assert not count_stretches(sandbox_id, newest=newest, deadline=0)
    assert count_stretches(sandbox_id, newest=newest, deadline=time.monotonic() + 60)
    assert counted_to(sandbox_id) == newest // EVENTS * EVENTS
    events_append(sandbox_id=sandbox_id, events=commands(30))
    counted = strip_of(sandbox_id).counts
    assert sum(part[2] for part in by_index) == count
    assert sum(part[2] for part in counted) == count + 30
    assert sum(part[3] for part in counted) == -(-count // 10) + 3
    for old, new in zip(by_index[:-2], counted, strict=False):
        assert abs(old[2] - new[2]) <= EVENTS  # a stretch falls into the part it begins in


def test_a_moment_is_found_by_halving(database: Connection[Any], sandbox_id: str) -> None:
    assert seq_at(sandbox_id=sandbox_id, at=moment(0)) == 0
    events_append(sandbox_id=sandbox_id, events=[event("note.added", n) for n in range(100)])
    asked = {-5: 1, 0: 1, 0.5: 1, 41: 42, 41.9: 42, 99: 100, 5000: 100}
    assert {at: seq_at(sandbox_id=sandbox_id, at=moment(at)) for at in asked} == asked


def test_a_clock_that_jumped_back_still_leads_somewhere(
    database: Connection[Any], sandbox_id: str
) -> None:
    seconds = [*range(50), *range(-1000, -950), *range(50, 100)]
    events_append(sandbox_id=sandbox_id, events=[event("note.added", n) for n in seconds])
    assert seq_at(sandbox_id=sandbox_id, at=moment(99)) == 150
    assert 1 <= seq_at(sandbox_id=sandbox_id, at=moment(30)) <= 150
    assert strip_of(sandbox_id).last == (FROM + 99) * 1000


def test_the_newest_of_all_kinds_are_ticks_and_marks(
    database: Connection[Any], sandbox_id: str
) -> None:
    kinds = [Kind.FILE_READ, Kind.FILE_READ, Kind.FILE_WRITTEN, Kind.NETWORK_DENIED]
    events = [event(kinds[number % 4], number, path="/a") for number in range(2000)]
    events_append(sandbox_id=sandbox_id, events=events)
    strip = strip_of(sandbox_id)
    files = [number for number in range(2000) if number % 4 != 3]
    assert strip.ticks == [(FROM + number) * 1000 for number in files[-300:]]
    assert [seq for seq, _, _ in strip.marks] == list(range(4, 2001, 4))[-300:]


def test_cells_of_code_are_bars_too(database: Connection[Any], sandbox_id: str) -> None:
    events_append(
        sandbox_id=sandbox_id,
        events=[
            event(Kind.CODE_RUN, 1, span="cell_a", code="import time"),
            event(Kind.CODE_DONE, 2, span="cell_a", status="ok"),
            event(Kind.COMMAND_STARTED, 3, span="cmd_a", command="true"),
            event(Kind.CODE_RUN, 4, span="cell_b", code="1 / 0"),
            event(Kind.COMMAND_EXITED, 5, span="cmd_a", exit_code=0),
            event(Kind.CODE_DONE, 6, span="cell_b", status="error"),
        ],
    )
    states = [(label, state) for _, _, _, state, label in strip_of(sandbox_id).bars]
    assert states == [("import time", "ok"), ("true", "ok"), ("1 / 0", "bad")]
