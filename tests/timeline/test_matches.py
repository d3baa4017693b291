"""Narrowing a log: what is found, whether it is indexed yet or not, and page by page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from django.conf import LazySettings
from django.db import connection
from django.test.utils import CaptureQueriesContext
from psycopg import Connection
from redis import Redis

from timeline.events import Actor, Event, Kind, NewEvent
from timeline.excerpt import excerpt
from timeline.filters import Filter
from timeline.indexing import BLOCK_EVENTS, DUE, index_due, indexed_to
from timeline.matches import actors_of, found_after, found_before
from timeline.services import events_append
from timeline.words import Terms

AGENT = Actor("token", id="tok_1", name="agent", prefix="ork_abcd")
ANNA = Actor("person", id="usr_1", name="Anna")
MANY = 5 * BLOCK_EVENTS

Append = Callable[[Sequence[NewEvent]], list[Event]]


@pytest.fixture
def append(
    database: Connection[Any], sandbox_id: str, hose_url: str, settings: LazySettings
) -> Append:
    settings.REDIS_URL = hose_url
    return lambda events: events_append(sandbox_id=sandbox_id, events=events)


def output(text: str, *, span: str = "cmd_1") -> NewEvent:
    return NewEvent(Kind.COMMAND_OUTPUT, {"stream": "stdout", "text": text}, AGENT, span)


def command(span: str, line: str, *, exit_code: int, actor: Actor = AGENT) -> list[NewEvent]:
    return [
        NewEvent(Kind.COMMAND_STARTED, {"command": line, "cwd": "/"}, actor, span),
        NewEvent(Kind.COMMAND_EXITED, {"exit_code": exit_code, "timed_out": False}, actor, span),
    ]


def found(sandbox_id: str, text: str = "", **limits: str) -> list[int]:
    """All pages, newest first; the same ones from the other end."""
    wanted = Filter.of(text=text, **limits)
    seqs: list[int] = []
    before = None
    while True:
        page = found_before(sandbox_id=sandbox_id, wanted=wanted, before=before, limit=7)
        assert all(page.first <= event.seq <= page.last for event in page.events)
        seqs = [event.seq for event in page.events] + seqs
        if page.first <= 1:
            break
        before = page.first
    forward: list[int] = []
    after = 0
    while after < last(sandbox_id):
        page = found_after(sandbox_id=sandbox_id, wanted=wanted, after=after, limit=7)
        forward += [event.seq for event in page.events]
        after = page.last
    assert forward == seqs
    return seqs


def last(sandbox_id: str) -> int:
    return found_before(sandbox_id=sandbox_id, wanted=Filter.of(show="files")).last


def test_text_is_found_by_the_beginnings_of_words_wherever_it_is(
    append: Append, sandbox_id: str
) -> None:
    append([output(f"line {number} of many") for number in range(MANY)])
    append([output("error in src/main.py: E501"), output("\x1b[31mERR\x1b[0mORS: 2")])
    append([output("foo_bar"), NewEvent(Kind.FILE_WRITTEN, {"path": "/workspace/Main.PY"}, AGENT)])
    append([output(f"more {number}") for number in range(MANY)])
    needles = {
        "error": [MANY + 1, MANY + 2],
        "err": [MANY + 1, MANY + 2],
        "MAIN.py": [MANY + 1, MANY + 4],
        "src/main.py e501": [MANY + 1],
        "bar": [MANY + 3],
        "errors 2": [MANY + 2],
        "rror": [],
        "nowhere": [],
        "line 7": [n + 1 for n in range(MANY) if str(n).startswith("7")],
    }
    for _ in ("not indexed yet", "indexed"):
        assert {text: found(sandbox_id, text) for text in needles} == needles
        index_due(seconds=60)
        assert indexed_to(sandbox_id) >= 2 * MANY


def test_what_has_no_words_is_read(append: Append, sandbox_id: str) -> None:
    append([output("plain"), output("==> done"), output("x")])
    assert found(sandbox_id, "==>") == [2]
    assert found(sandbox_id, "x") == [3]
    assert found(sandbox_id, "%") == []
    assert found(sandbox_id, "'; drop table timeline_event; --") == []


def test_one_sandboxes_words_are_not_anothers(append: Append, sandbox_id: str) -> None:
    append([output("secret word")] * BLOCK_EVENTS)
    events_append(sandbox_id=f"{sandbox_id}b", events=[output("other")] * BLOCK_EVENTS)
    index_due(seconds=60)
    assert found(f"{sandbox_id}b", "secret") == []
    assert len(found(sandbox_id, "secret")) == BLOCK_EVENTS


def test_a_huge_event_is_indexed_to_its_ends(append: Append, sandbox_id: str) -> None:
    append([output("start " + "x" * 1_000_000 + " finish")])
    append([output(" ".join(f"w{number}" for number in range(40_000)))])
    index_due(seconds=60)
    assert indexed_to(sandbox_id) == 2
    assert found(sandbox_id, "finish") == [1]


def test_failures_are_found_by_how_things_ended(append: Append, sandbox_id: str) -> None:
    append(command("cmd_a", "true", exit_code=0))
    append([output("boom", span="cmd_b"), output("boom", span="cmd_a")])
    append(command("cmd_b", "false", exit_code=1))
    append([NewEvent(Kind.NETWORK_DENIED, {"host": "example.org"}, AGENT)])
    late = {"exit_code": 0, "timed_out": True}
    append([NewEvent(Kind.COMMAND_EXITED, late, AGENT, "cmd_c")])
    assert found(sandbox_id, show="failed") == [6, 7, 8]
    assert found(sandbox_id, "boom", show="failed") == [3]


def test_kinds_and_actors_narrow_together(append: Append, sandbox_id: str) -> None:
    append([*command("cmd_a", "ls", exit_code=0), output("x", span="cmd_a")])
    append(command("cmd_b", "id", exit_code=0, actor=ANNA))
    append([NewEvent(Kind.FILE_READ, {"path": "/a"}, ANNA), NewEvent(Kind.SANDBOX_PAUSED)])
    assert found(sandbox_id, show="commands") == [1, 4]
    assert found(sandbox_id, show="commands", actor="usr_1") == [4]
    assert found(sandbox_id, actor="usr_1") == [4, 5, 6]
    assert found(sandbox_id, actor="system") == [7]
    assert found(sandbox_id, show="lifecycle") == [7]
    assert [actor.key for actor in actors_of(sandbox_id)] == ["system", "tok_1", "usr_1"]


def test_a_page_costs_a_few_queries_however_long_the_log_is(
    append: Append, sandbox_id: str
) -> None:
    append([output(f"line {number}") for number in range(20 * BLOCK_EVENTS)])
    index_due(seconds=60)
    with CaptureQueriesContext(
        connection,
    ) as queries:
        found_before(sandbox_id=sandbox_id, wanted=Filter.of(text="nowhere"))
    assert len(queries) < 10


def test_a_lost_note_is_made_again_by_who_searches(
    append: Append, sandbox_id: str, redis: Redis
) -> None:
    append([output("lost") for _ in range(5 * BLOCK_EVENTS)])
    redis.delete(DUE)
    found(sandbox_id, "lost")
    assert redis.smembers(DUE) == {sandbox_id.encode()}


def test_an_excerpt_has_the_lines_that_match_and_their_neighbours() -> None:
    lines = [f"line {number}" for number in range(30)]
    lines[10] = "y" * 3000 + " NEEDLE " + "z" * 3000
    event = Event("sbx", 1, 0, Kind.COMMAND_OUTPUT, AGENT, "cmd", {"text": "\n".join(lines)})
    text = str(excerpt(event, Terms.of("needle")).data["text"])
    assert "line 8\nline 9\n" in text
    assert "line 12" in text
    assert "line 13" not in text
    assert "NEEDLE" in text
    assert len(text) < 600


def test_cells_of_code_are_found_like_commands(append: Append, sandbox_id: str) -> None:
    append(
        [
            NewEvent(Kind.CODE_RUN, {"code": "1 / 0", "cell_id": "cell_a"}, AGENT, "cell_a"),
            NewEvent(Kind.CODE_OUTPUT, {"text": "before it\n"}, AGENT, "cell_a"),
            NewEvent(
                Kind.CODE_ERROR,
                {"name": "ZeroDivisionError", "traceback": "\x1b[31mdivi\x1b[0msion by zero"},
                AGENT,
                "cell_a",
            ),
            NewEvent(Kind.CODE_DONE, {"status": "error"}, AGENT, "cell_a"),
            NewEvent(Kind.CODE_RUN, {"code": "2", "cell_id": "cell_b"}, AGENT, "cell_b"),
            NewEvent(Kind.CODE_RESULT, {"text": "2", "png": "divisionxx"}, AGENT, "cell_b"),
            NewEvent(Kind.CODE_DONE, {"status": "ok"}, AGENT, "cell_b"),
        ]
    )
    assert found(sandbox_id, show="commands") == [1, 5]
    assert found(sandbox_id, show="failed") == [4]
    assert found(sandbox_id, "division") == [3]
    assert found(sandbox_id, "before", show="failed") == [2]
    assert found(sandbox_id, "2", show="failed") == []
