from __future__ import annotations

import threading
from typing import Any

import pytest
from django.db import transaction
from psycopg import Connection

from tests.timeline.helpers import batch_of, one_each, output, outputs, stored
from timeline.bootstep import connect
from timeline.events import NewEvent
from timeline.log import Batch, to_line
from timeline.services import event_append, events_append
from timeline.store import store


def test_it_numbers_events_from_one(database: Connection[Any], sandbox_id: str) -> None:
    (result,) = store(database, [batch_of(sandbox_id, 1, 5)])
    assert (result.first, result.head, result.position, result.gap) == (1, 5, 5, False)
    assert stored(database, sandbox_id) == one_each(range(1, 6))


def test_what_it_has_already_is_left_out(database: Connection[Any], sandbox_id: str) -> None:
    ranges = [(1, 5), (1, 5), (3, 9), (9, 9), (2, 4), (10, 12)]
    results = store(database, [batch_of(sandbox_id, *span) for span in ranges])
    assert [len(result.lines) for result in results] == [5, 0, 4, 0, 0, 3]
    again = store(database, [batch_of(sandbox_id, *span) for span in ranges])
    assert [len(result.lines) for result in again] == [0] * 6
    assert stored(database, sandbox_id) == one_each(range(1, 13))


def test_what_follows_a_hole_is_refused(database: Connection[Any], sandbox_id: str) -> None:
    first, behind = store(database, [batch_of(sandbox_id, 1, 5), batch_of(sandbox_id, 7, 9)])
    assert (first.gap, behind.gap, behind.position, behind.lines) == (False, True, 5, [])
    store(database, [batch_of(sandbox_id, 6, 9)])
    assert stored(database, sandbox_id) == one_each(range(1, 10))


def test_a_journal_that_was_opened_again_goes_on(
    database: Connection[Any], sandbox_id: str
) -> None:
    store(database, [batch_of(sandbox_id, 1, 5), batch_of(sandbox_id, 1000, 1002, before=3)])
    assert stored(database, sandbox_id) == one_each([1, 2, 3, 4, 5, 1000, 1001, 1002])


def test_every_column_comes_back_as_it_was(db: None, sandbox_id: str) -> None:
    new = output(1, text='quotes " \\ tab\t newline\n \u2028 € 🙂 NULL \\N')
    with connect() as connection:
        store(connection, [Batch(sandbox_id, 0, 1, 1, to_line(new))])
        row = connection.execute(
            "SELECT extract(epoch FROM at) * 1000000, kind, actor, span, data"
            " FROM timeline_event WHERE sandbox_id = %s",
            (sandbox_id,),
        ).fetchone()
    assert row == (new.at, new.kind, new.actor.to_json(), new.span, new.data)


@pytest.mark.parametrize(
    "line",
    [
        b"not json",
        b"[1,2]",
        b"{}",
        b'{"at":"today","kind":"x","actor":{"type":"system"},"span":null,"data":{}}',
        b'{"at":1,"kind":"x","actor":{"type":"system"},"span":null,"data":{"text":"\\u0000"}}',
        b'{"at":1,"kind":"\\u0000","actor":{"type":"system"},"span":null,"data":{}}',
        b'{"at":1,"kind":"x","actor":{"type":"system"},"span":"%s","data":{}}' % (b"s" * 5000),
        b'{"at":99999999999999999,"kind":"x","actor":{"type":"system"},"span":null,"data":{}}',
        b'{"at":1,"kind":"x","actor":{"type":"system"},"span":null,"data":{"n":1e999999}}',
        b'{"at":1,"kind":"x","actor":{"type":"system"},"span":null,"data":{"a":'
        + b"[" * 900
        + b"]" * 900
        + b"}}",
        b'{"at":1,"kind":"x","actor":{"type":"system"},"span":null,"data":{"\xff":1}}',
    ],
)
def test_an_event_that_cannot_be_stored_keeps_its_number_and_stops_nothing(
    database: Connection[Any], sandbox_id: str, line: bytes
) -> None:
    lines = [to_line(event) for event in outputs(1, 40)]
    lines[17] = line
    other = f"{sandbox_id}x"
    results = store(
        database,
        [
            batch_of(other, 1, 3),
            Batch(sandbox_id, 0, 1, 40, b"\n".join(lines)),
            batch_of(other, 4, 6),
        ],
    )
    assert [len(result.lines) for result in results] == [3, 40, 3]
    rows = stored(database, sandbox_id)
    assert [seq for seq, _ in rows] == list(range(1, 41))
    assert [number for _, number in rows if number] in (
        [number for number in range(1, 41) if number != 18],
    )
    kind = database.execute(
        "SELECT kind FROM timeline_event WHERE sandbox_id = %s AND seq = 18", (sandbox_id,)
    ).fetchone()
    assert kind in {("log.unreadable",), ("x",)}
    assert stored(database, other) == one_each(range(1, 7))


def test_a_batch_that_lies_about_its_length_keeps_its_numbers(
    database: Connection[Any], sandbox_id: str
) -> None:
    sound = batch_of(sandbox_id, 1, 5)
    store(database, [Batch(sandbox_id, 0, 1, 7, sound.lines), batch_of(sandbox_id, 8, 9)])
    assert [seq for seq, _ in stored(database, sandbox_id)] == list(range(1, 10))


def test_workers_that_store_the_same_at_once_store_it_once(db: None, sandbox_id: str) -> None:
    others = [f"{sandbox_id}{letter}" for letter in "abc"]
    batches = [batch_of(name, first, first + 9) for first in range(1, 400, 10) for name in others]

    def work() -> None:
        with connect() as connection:
            for start in range(0, len(batches), 7):
                store(connection, batches[start : start + 7])

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    with connect() as connection:
        for name in others:
            assert stored(connection, name) == one_each(range(1, 401))


def test_events_of_the_platform_and_of_the_host_share_one_sequence(
    database: Connection[Any], sandbox_id: str
) -> None:
    def platform() -> None:
        for number in range(1001, 1101):
            event_append(sandbox_id=sandbox_id, event=output(number))

    writer = threading.Thread(target=platform)
    writer.start()
    for first in range(1, 301, 3):
        store(database, [batch_of(sandbox_id, first, first + 2)])
    writer.join(60)
    rows = stored(database, sandbox_id)
    assert [seq for seq, _ in rows] == list(range(1, 401))
    numbers = [number for _, number in rows]
    assert [number for number in numbers if number < 1000] == list(range(1, 301))
    assert [number for number in numbers if number > 1000] == list(range(1001, 1101))


def test_an_event_is_there_exactly_when_its_change_is(
    database: Connection[Any], sandbox_id: str
) -> None:
    class UndoneError(Exception):
        pass

    with pytest.raises(UndoneError), transaction.atomic():
        assert events_append(sandbox_id=sandbox_id, events=outputs(1, 3))[-1].seq == 3
        raise UndoneError
    assert stored(database, sandbox_id) == []
    event = event_append(sandbox_id=sandbox_id, event=NewEvent("note.added", {"text": "a\0b"}))
    assert (event.seq, event.data) == (1, {"text": "a\u2400b"})
    assert events_append(sandbox_id=sandbox_id, events=[]) == []
