"""GET /v1/sandboxes/{id}/events, as pages and as a live feed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx
import pytest
from orkestr import Sandbox

from sandboxes.api.schemas import EventsOut
from tests.waiting import until
from timeline.selectors import last_seq


def stored(sandbox: Sandbox, count: int) -> None:
    until(lambda: last_seq(sandbox_id=sandbox.id) >= count, what=f"{count} events are stored")


@contextmanager
def feed(
    http: httpx.Client, sandbox: Sandbox, query: str = "", **headers: str
) -> Iterator[Iterator[dict[str, Any]]]:
    """The events of a live feed as they come; the stream is closed behind it."""
    sent = {"Accept": "text/event-stream", **headers}
    address = f"/v1/sandboxes/{sandbox.id}/events{query}"
    with http.stream("GET", address, headers=sent, timeout=20) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        yield events_in(answer)


def events_in(answer: httpx.Response) -> Iterator[dict[str, Any]]:
    event_id = None
    for line in answer.iter_lines():
        if line.startswith("id: "):
            event_id = int(line[4:])
        elif line.startswith("data: "):
            event = json.loads(line[6:])
            assert event["seq"] == event_id
            yield event


def test_pages_follow_each_other_without_a_gap(http: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.exec("echo one")
    stored(sandbox, 5)
    seen, after = [], 0
    while True:
        answer = http.get(f"/v1/sandboxes/{sandbox.id}/events", params={"after": after, "limit": 2})
        page = EventsOut.model_validate(answer.json())
        if not page.events:
            break
        seen += [event.seq for event in page.events]
        after = page.last_seq
    assert seen == [1, 2, 3, 4, 5]


def test_kinds_are_filtered_for(http: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.exec("echo one")
    stored(sandbox, 5)
    query = "?kind=command.started&kind=command.exited"
    page = http.get(f"/v1/sandboxes/{sandbox.id}/events{query}").json()
    assert [event["kind"] for event in page["events"]] == ["command.started", "command.exited"]


def test_it_stays_readable_after_the_end(http: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.terminate()
    stored(sandbox, 3)
    page = http.get(f"/v1/sandboxes/{sandbox.id}/events").json()
    assert page["events"][-1]["kind"] == "sandbox.terminated"


def test_the_feed_begins_at_the_beginning_and_goes_on_live(
    http: httpx.Client, sandbox: Sandbox
) -> None:
    stored(sandbox, 2)
    with feed(http, sandbox) as events:
        assert [next(events)["seq"] for _ in range(2)] == [1, 2]
        sandbox.exec("echo live")
        kinds = [next(events)["kind"] for _ in range(3)]
    assert kinds == ["command.started", "command.output", "command.exited"]


def test_the_feed_resumes_behind_the_last_event_a_caller_has(
    http: httpx.Client, sandbox: Sandbox
) -> None:
    sandbox.exec("echo one")
    stored(sandbox, 5)
    with feed(http, sandbox, **{"Last-Event-ID": "3"}) as events:
        assert next(events)["seq"] == 4
    with feed(http, sandbox, "?after=4") as events:
        assert next(events)["seq"] == 5


def test_the_feed_filters_too(http: httpx.Client, sandbox: Sandbox) -> None:
    with feed(http, sandbox, "?kind=command.exited") as events:
        sandbox.exec("exit 7")
        event = next(events)
    assert (event["kind"], event["data"]["exit_code"]) == ("command.exited", 7)


@pytest.mark.parametrize(
    "query", ["after=-1", "after=x", f"after={2**63}", "limit=0", "limit=1001", "kind=", "kind=x"]
)
def test_a_question_without_sense_is_told_in_a_sentence(
    http: httpx.Client, sandbox: Sandbox, query: str
) -> None:
    answer = http.get(f"/v1/sandboxes/{sandbox.id}/events?{query}")
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str)


@pytest.mark.parametrize("last", ["x", "-1", "1.5", "9" * 30])
def test_a_last_event_id_that_is_none_is_refused(
    http: httpx.Client, sandbox: Sandbox, last: str
) -> None:
    headers = {"Accept": "text/event-stream", "Last-Event-ID": last}
    answer = http.get(f"/v1/sandboxes/{sandbox.id}/events", headers=headers)
    assert answer.status_code == 422
