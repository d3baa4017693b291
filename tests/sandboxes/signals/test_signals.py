"""The rules by which a run may be stuck, over logs as the host writes them."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from sandboxes.models import Sandbox, Status
from sandboxes.signals.models import Progress, Signal
from sandboxes.signals.selectors import signals_of, signals_of_account
from sandboxes.signals.services import signal_dismiss, signals_look
from sandboxes.usage.models import Sample
from tests.cast import Cast
from timeline.events import SYSTEM, Kind, NewEvent, now_us
from timeline.selectors import events_after
from timeline.services import events_append


@pytest.fixture
def run(account: Cast) -> Sandbox:
    """One that runs, as far as the database knows."""
    long_ago = timezone.now() - timedelta(hours=1)
    row = account.sandbox_row(status=Status.RUNNING)
    Sandbox.objects.filter(id=row.id).update(started_at=long_ago)
    return row


_number = iter(range(1, 10_000))


def _command(text: str, code: int | None = 0, *, output: str = "", ago: int = 0) -> list[NewEvent]:
    """A command's events; with ``code`` None it still runs."""
    span, at = f"cmd_{next(_number)}", now_us() - ago * 1_000_000
    events = [NewEvent(Kind.COMMAND_STARTED, {"command": text, "cwd": "/"}, SYSTEM, span, at)]
    if output:
        data = {"stream": "stdout", "text": output}
        events.append(NewEvent(Kind.COMMAND_OUTPUT, data, SYSTEM, span, at))
    if code is not None:
        events.append(NewEvent(Kind.COMMAND_EXITED, {"exit_code": code}, SYSTEM, span, at))
    return events


def _write(path: str, diff: str) -> list[NewEvent]:
    return [NewEvent(Kind.FILE_WRITTEN, {"path": path, "diff": diff})]


def _denied(host: str) -> list[NewEvent]:
    return [NewEvent(Kind.NETWORK_DENIED, {"host": host, "port": 443})]


def _rules(run: Sandbox, *parts: Sequence[NewEvent]) -> dict[str, Signal]:
    """What stands after these events were looked at."""
    events_append(sandbox_id=run.id, events=[event for part in parts for event in part])
    signals_look()
    return {signal.rule: signal for signal in signals_of(sandbox_id=run.id)}


def test_the_same_command_three_times_is_told_once_with_its_evidence(run: Sandbox) -> None:
    assert _rules(run, _command("make", 2), _command("make", 2)) == {}
    found = _rules(run, _command("make", 2))
    assert found["repeated"].text == "make ran 3 times in a row, each with exit 2."
    assert found["repeated"].evidence == [1, 3, 5]
    grown = _rules(run, _command("make", 2))
    assert grown["repeated"].pk == found["repeated"].pk
    assert grown["repeated"].evidence == [1, 3, 5, 8]
    told = [e for e in events_after(sandbox_id=run.id) if e.kind == Kind.SIGNAL_RAISED]
    assert [(e.data["rule"], e.data["evidence"]) for e in told] == [("repeated", [1, 3, 5])]
    assert told[0].actor.type == "policy"
    assert _rules(run, _command("ls")) == {}


def test_a_file_that_was_written_in_between_is_progress(run: Sandbox) -> None:
    again = [*_command("make", 2), *_write("/a", "-1\n+2\n")]
    assert _rules(run, again, _command("make", 2), _command("make", 2)) == {}


def test_what_goes_well_and_prints_something_else_each_time_is_progress(run: Sandbox) -> None:
    polls = [
        event
        for left in (9, 7, 5)
        for event in [*_command("curl jobs/1", output=f"job\n{left} to go\n"), *_command("date")]
    ]
    assert _rules(run, polls) == {}
    more = [event for left in (3, 2, 1) for event in _command("curl jobs/1", output=f"{left}\n")]
    assert _rules(run, more) == {}
    same = [event for _ in range(3) for event in _command("curl jobs/1", output="0\n")]
    found = _rules(run, same)
    assert found["repeated"].text.endswith(
        "3 times in a row, each with exit 0 and the same output."
    )


def test_what_fails_alike_is_told_whatever_it_printed(run: Sandbox) -> None:
    tries = [event for took in (3, 4, 5) for event in _command("test", 1, output=f"{took} ms\n")]
    assert set(_rules(run, tries)) == {"repeated"}


def test_circles_and_streaks_and_denials_and_reverts(run: Sandbox) -> None:
    around = [*_command("cat a"), *_command("cat b")]
    assert _rules(run, around * 3)["loop"].evidence == [1, 3, 5, 7, 9, 11]
    failing = [event for n in range(5) for event in _command(f"try {n}", 1)]
    found = _rules(run, failing)
    assert set(found) == {"failing"}
    assert len(found["failing"].evidence) == 5
    found = _rules(run, _command("ls"), _denied("a.example") * 3, _denied("b.example") * 2)
    assert set(found) == {"denied"}
    assert "a.example was denied 3 times" in found["denied"].text
    edit, back = _write("/x.py", "@@\n-a = 1\n+a = 2\n"), _write("/x.py", "@@\n-a = 2\n+a = 1\n")
    found = _rules(run, [NewEvent(Kind.NETWORK_ALLOWED, {"host": "a.example"})], edit, back)
    assert set(found) == {"reverted"}
    assert _rules(run, _write("/x.py", "@@\n-a = 1\n+a = 3\n")) == {}


def test_silence_counts_while_it_runs_and_ends_with_a_word(run: Sandbox) -> None:
    found = _rules(run, _command("sleep 9999", None, output="started\n", ago=299))
    assert found == {}
    found = _rules(run, _command("sleep 8888", None, ago=301))
    assert found["quiet"].text == "sleep 8888 runs and printed nothing for 5 min."
    Sandbox.objects.filter(id=run.id).update(started_at=timezone.now())  # it was paused until now
    assert _rules(run, _command("ls")) == {}


def test_time_alone_raises_a_silence_without_any_event(run: Sandbox) -> None:
    assert _rules(run, _command("sleep 9999", None, ago=200)) == {}
    progress = Progress.objects.get(sandbox=run)
    assert progress.next_look is not None
    assert signals_look() == 0
    state: dict[str, Any] = progress.state
    for one in state["open"].values():
        one["spoke_at"] -= 101 * 1_000_000
    now = timezone.now()
    Progress.objects.filter(sandbox=run).update(state=state, next_look=now)
    assert signals_look() == 1
    assert [signal.rule for signal in signals_of(sandbox_id=run.id)] == ["quiet"]


def test_a_question_that_nobody_answers(run: Sandbox) -> None:
    asks = _command("apt install x", None, output="lots\nContinue? [Y/n] ", ago=25)
    assert "asks “Continue? [Y/n]”" in _rules(run, asks)["waiting"].text
    found = _rules(run, _command("build", None, output="compiling a.c:\n", ago=25))
    assert [signal.text.split()[0] for signal in found.values()] == ["apt"]


def test_who_computes_does_not_wait_whatever_it_printed_last(run: Sandbox) -> None:
    now = timezone.now()
    for seconds in (20, 10):
        slot = int(now.timestamp()) - seconds
        at, busy = now - timedelta(seconds=seconds), (20 - seconds) * 900_000
        Sample.objects.create(
            sandbox=run, slot=slot, at=at, generation=1, cpu_us=busy, memory_kib_ms=0
        )
    solves = _command("solve", None, output="Solving environment: ", ago=25)
    assert _rules(run, solves) == {}
    look = Progress.objects.get(sandbox=run).next_look
    assert look is not None
    assert look < timezone.now() + timedelta(seconds=11)  # it may wait by then
    Sample.objects.filter(sandbox=run).update(cpu_us=1_000)
    assert set(_rules(run, _write("/a", ""))) == {"waiting"}


def test_what_comes_and_goes_between_two_rounds_is_told_as_over(
    run: Sandbox, account: Cast
) -> None:
    stuck = [event for _ in "123" for event in _command("make", 2)]
    assert _rules(run, stuck, _command("ls")) == {}
    signal = Signal.objects.get(sandbox=run)
    assert (signal.rule, signal.evidence) == ("repeated", [1, 3, 5])
    assert signal.resolved_at is not None
    told = [e for e in events_after(sandbox_id=run.id) if e.kind == Kind.SIGNAL_RAISED]
    assert [event.seq for event in told] == [signal.seq]

    short = account.sandbox_row(status=Status.TERMINATED, ended_at=timezone.now())
    assert _rules(short, _denied("a.example") * 3) == {}
    assert [one.rule for one in Signal.objects.filter(sandbox=short)] == ["denied"]
    assert Progress.objects.get(sandbox=short).done


def test_a_dismissed_one_comes_back_only_anew(run: Sandbox, account: Cast) -> None:
    found = _rules(run, _command("make", 2) + _command("make", 2) + _command("make", 2))
    operator = account.principal(account.operator)
    signal_dismiss(principal=operator, sandbox_id=run.id, signal_id=found["repeated"].pk)
    assert signals_of_account(account_id=account.account.id) == {}
    assert _rules(run, _command("make", 2)) == {}
    told = events_after(sandbox_id=run.id)[7]
    assert (told.kind, told.actor.name) == (Kind.SIGNAL_DISMISSED, "Operator")
    again = _command("make", 2) + _command("make", 2) + _command("make", 2)
    _rules(run, _command("ls"))
    assert set(_rules(run, again)) == {"repeated"}
    assert list(signals_of_account(account_id=account.account.id)) == [run.id]


def test_a_run_that_is_over_has_no_signals_and_is_not_read_again(run: Sandbox) -> None:
    assert _rules(run, _command("make", 2) + _command("make", 2) + _command("make", 2))
    Sandbox.objects.filter(id=run.id).update(status=Status.TERMINATED)
    assert _rules(run, _command("ls")) == {}
    assert Progress.objects.get(sandbox=run).done
    assert signals_look() == 0


def test_a_round_costs_the_same_queries_for_one_run_and_for_many(account: Cast) -> None:
    counts: list[int] = []
    for _ in range(2):
        for _ in range(1 if not counts else 30):
            row = account.sandbox_row(status=Status.RUNNING)
            events_append(sandbox_id=row.id, events=_command("ls"))
        with CaptureQueriesContext(
            connection,
        ) as queries:
            assert signals_look() > 0
        counts.append(len(queries))
    assert counts[0] == counts[1]


def test_hostile_text_is_one_harmless_line(run: Sandbox) -> None:
    text = "printf '\u202e\x1b]0;x\x07'\n" + "x" * 9000
    found = _rules(run, _command(text, 1) * 1, _command(text, 1), _command(text, 1))
    shown = found["repeated"].text
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    assert len(shown) < 200
