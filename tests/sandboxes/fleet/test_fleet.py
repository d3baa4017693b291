"""What the fleet wall reads, over logs as the host writes them."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from sandboxes.fleet.selectors import Fleet, FleetRow
from sandboxes.models import Sandbox, Status
from sandboxes.signals.services import signals_look
from sandboxes.usage.models import Sample, Usage
from tests.cast import Cast
from tests.commands import run_commands
from timeline.events import SYSTEM, Kind, NewEvent
from timeline.services import events_append


def _run(account: Cast, *commands: tuple[str, int | None], **changes: Any) -> Sandbox:
    row = account.running_sandbox(**changes)
    if commands:
        run_commands(row.id, *commands)
    return row


def _by_id(fleet: Fleet) -> dict[str, FleetRow]:
    return {row.sandbox.id: row for row in fleet.read().rows}


def test_a_row_says_what_ran_last_and_how_often_in_a_row_it_failed(account: Cast) -> None:
    run = _run(account, ("make", 0), ("make test", 2), ("ls /nowhere", 1))
    fleet = Fleet(account.account.id)
    row = _by_id(fleet)[run.id]
    assert row.last is not None
    assert (row.last.text, row.last.state, row.last.how) == ("ls /nowhere", "bad", "exit 1")
    assert row.streak == 2

    run_commands(run.id, ("sleep 60\nsecond line", None))
    row = _by_id(fleet)[run.id]
    assert row.last is not None
    assert (row.last.text, row.last.state, row.last.ended) == ("sleep 60", "busy", None)
    assert row.streak == 2
    run_commands(run.id, ("true", 0))
    assert _by_id(fleet)[run.id].streak == 0


def test_what_was_read_piece_by_piece_is_what_is_read_at_once(account: Cast) -> None:
    run = _run(account)
    fleet = Fleet(account.account.id)
    for number in range(6):
        run_commands(run.id, (f"step {number}", number % 3))
        piecemeal = _by_id(fleet)[run.id]
    at_once = _by_id(Fleet(account.account.id))[run.id]
    assert (piecemeal.last, piecemeal.streak) == (at_once.last, at_once.streak)


def test_what_needs_attention_comes_first(account: Cast) -> None:
    calm = _run(account, ("true", 0))
    ends = _run(account, expires_at=timezone.now() + timedelta(seconds=90))
    failing = _run(account, *[(f"try {number}", 1) for number in range(4)])
    stuck = _run(account, *[("make", 2)] * 3)
    held = _run(
        account,
        status=Status.PAUSED,
        held_at=timezone.now(),
        held_by={"type": "person", "name": "Ada"},
    )
    _run(account, status=Status.PAUSED)
    signals_look()
    view = Fleet(account.account.id).read()
    assert [row.sandbox.id for row in view.rows] == [
        stuck.id,
        failing.id,
        ends.id,
        held.id,
        calm.id,
    ]
    reasons = {row.sandbox.id: row.attention for row in view.rows}
    assert reasons[stuck.id].tone == "bad"
    assert [(reason.tone, reason.text) for reason in reasons[stuck.id].reasons] == [
        ("bad", "make ran 3 times in a row, each with exit 2."),
    ]
    assert [reason.text for reason in reasons[failing.id].reasons] == [
        "The last 4 commands failed."
    ]
    assert reasons[held.id].reasons[0].text == "Ada holds it."
    assert reasons[calm.id].reasons == ()
    assert (view.counts.live, view.counts.paused, view.counts.attention) == (4, 2, 4)


def test_a_command_that_goes_well_again_and_again_is_a_warning_and_no_failure(
    account: Cast,
) -> None:
    run = _run(account, *[("git status", 0)] * 5)
    signals_look()
    attention = _by_id(Fleet(account.account.id))[run.id].attention
    assert [reason.tone for reason in attention.reasons] == ["warning"]
    assert attention.reasons[0].text.endswith(
        "5 times in a row, each with exit 0 and the same output."
    )


def test_a_run_that_is_paused_when_its_time_is_up_does_not_end(account: Cast) -> None:
    run = _run(account, expires_at=timezone.now() + timedelta(seconds=5), on_timeout="pause")
    assert _by_id(Fleet(account.account.id))[run.id].attention.rank == 0


def test_use_and_cost_are_those_of_the_meter(account: Cast) -> None:
    run = _run(account)
    now = timezone.now()
    slot = int(now.timestamp()) // 10 * 10
    for step, (cpu_us, kib_ms) in enumerate([(0, 0), (5_000_000, 1024 * 256 * 10_000)]):
        Sample.objects.create(
            sandbox=run,
            slot=slot - 20 + 10 * step,
            at=now - timedelta(seconds=20 - 10 * step),
            generation=1,
            cpu_us=cpu_us,
            memory_kib_ms=kib_ms,
        )
    for hour in (0, 1):
        Usage.objects.create(
            account=account.account,
            sandbox_id=run.id,
            hour=now.replace(minute=0, second=0, microsecond=0) - timedelta(hours=hour),
            cpu_us=1,
            memory_kib_ms=1,
            eur=Decimal("0.25"),
        )
    row = _by_id(Fleet(account.account.id))[run.id]
    assert row.eur == Decimal("0.5")
    assert row.use is not None
    assert row.use.cpu == pytest.approx((0.5,))
    assert row.use.memory == pytest.approx((0.25,))
    assert row.use.memory_bytes == 256 * 2**20


def test_another_accounts_sandboxes_are_not_on_it(account: Cast, other_account: Cast) -> None:
    _run(other_account, ("secret", 1))
    view = Fleet(account.account.id).read()
    assert view.rows == []
    assert (view.counts.live, view.counts.any) == (0, False)


def test_as_many_queries_for_many_sandboxes_as_for_one(account: Cast) -> None:
    def asked(fleet: Fleet) -> list[str]:
        with CaptureQueriesContext(connection) as captured:
            fleet.read()
        return [query["sql"] for query in captured]

    first = _run(account, ("true", 0))
    fleet = Fleet(account.account.id)
    one = asked(fleet)
    assert len(one) == 9
    for _ in range(5):
        _run(account, ("true", 0))
    assert len(asked(Fleet(account.account.id))) == len(one)
    fleet.read()
    assert len(asked(fleet)) == 6, "without news neither events nor samples nor prices are read"
    run_commands(first.id, ("true", 0))
    assert len(asked(fleet)) == 7


def test_the_last_commands_are_found_by_their_kind_however_much_was_printed(account: Cast) -> None:
    run = _run(account, ("yes", 0))
    output = {"stream": "stdout", "text": "y"}
    events_append(
        sandbox_id=run.id,
        events=[NewEvent(Kind.COMMAND_OUTPUT, output, SYSTEM, "cmd_yes")] * 4000,
    )
    with CaptureQueriesContext(connection) as captured:
        Fleet(account.account.id).read()
    query = next(one["sql"] for one in captured if "timeline_event" in one["sql"])
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE timeline_event")
        cursor.execute("EXPLAIN " + query)
        plan = "\n".join(row[0] for row in cursor.fetchall())
    assert "timeline_event_kind" in plan
