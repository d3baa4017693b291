"""The rows of pauses and resumes: how few statements they take, and what they never lock."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from typing import Any

import pytest
from django.db import connection, transaction
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from accounts.models import AuditEntry
from accounts.selectors import account_locked
from accounts.services import audit_entry, audit_record
from sandboxes.budgets import sandbox_set_budget
from sandboxes.errors import SandboxNotFound, SnapshotCap, UsageExhausted, WrongState
from sandboxes.host.types import PausedSandbox
from sandboxes.models import Sandbox, Status, TokenTouch
from sandboxes.turns import pause_begin, pause_end, resume_begin, resume_end
from sandboxes.usage.models import Usage
from tests.cast import Cast
from tests.stack import Stack

KEPT = PausedSandbox(size_mb=7, at=1, is_saved=False, unsaved="because")


def named(sandbox: Sandbox) -> dict[str, Any]:
    return {"account_id": sandbox.account_id, "sandbox_id": sandbox.id}


def entry(account: Cast, sandbox: Sandbox, action: str) -> AuditEntry:
    return audit_entry(principal=account.principal(), action=action, target=sandbox.id)


def statements(captured: CaptureQueriesContext) -> list[str]:
    """What is sent beside the borders of transactions: the first word of each."""
    words = [query["sql"].split()[0] for query in captured.captured_queries]
    return [word for word in words if word not in {"SAVEPOINT", "RELEASE", "BEGIN", "COMMIT"}]


def test_a_pause_takes_two_statements_before_it_and_three_after(account: Cast) -> None:
    row = account.running_sandbox(started_at=timezone.now())
    told = entry(account, row, "sandbox.paused")
    with CaptureQueriesContext(connection) as begun:
        pausing = pause_begin(**named(row))
    assert statements(begun) == ["SELECT", "UPDATE"]
    with CaptureQueriesContext(connection) as ended:
        paused = pause_end(sandbox=pausing, kept=KEPT, entry=told)
    assert statements(ended) == ["UPDATE", "SELECT", "INSERT"]  # the SELECT: whose webhooks want it
    assert (paused.status, paused.snapshot_size_mb) == (Status.PAUSED, 7)
    assert paused.why_unsaved == "because"
    assert paused.snapshot_id.startswith("snap_")


def test_a_resume_takes_two_statements_before_it_and_three_after(account: Cast) -> None:
    row = account.sandbox_row(status=Status.PAUSED, metadata={"a": "b"})
    told = entry(account, row, "sandbox.resumed")
    with CaptureQueriesContext(connection) as begun:
        resuming = resume_begin(**named(row))
    assert statements(begun) == ["SELECT", "UPDATE"]
    assert resuming.expires_at > timezone.now()
    with CaptureQueriesContext(connection) as ended:
        running = resume_end(sandbox_id=row.id, entry=told)
    assert statements(ended) == ["UPDATE", "SELECT", "INSERT"]
    row.refresh_from_db()
    assert row.status == Status.RUNNING
    assert running == row
    assert running.metadata == {"a": "b"}


def test_a_turn_that_another_has_taken_is_refused_with_a_reason(account: Cast) -> None:
    row = account.sandbox_row(status=Status.PAUSED)
    resume_begin(**named(row))
    with pytest.raises(WrongState, match="being resumed already"):
        resume_begin(**named(row))
    with pytest.raises(WrongState, match="is being resumed; try again"):
        pause_begin(**named(row))


def test_what_was_ended_in_the_middle_is_recorded_and_stays_ended(account: Cast) -> None:
    row = account.sandbox_row(status=Status.PAUSED)
    resume_begin(**named(row))
    Sandbox.objects.filter(id=row.id).update(status=Status.TERMINATED)
    with pytest.raises(WrongState, match="ended while it was being resumed"):
        resume_end(sandbox_id=row.id, entry=entry(account, row, "sandbox.resumed"))
    row.refresh_from_db()
    assert row.status == Status.TERMINATED
    assert AuditEntry.objects.filter(target=row.id, action="sandbox.resumed").count() == 1


def test_a_run_that_has_cost_its_budget_stays_paused(account: Cast) -> None:
    row = account.sandbox_row(status=Status.PAUSED, budget_eur=Decimal("0.5"))
    usage = {"cpu_us": 1, "memory_kib_ms": 1, "hour": timezone.now()}
    Usage.objects.create(account_id=row.account_id, sandbox_id=row.id, eur=Decimal("0.4"), **usage)
    resume_begin(**named(row))
    Sandbox.objects.filter(id=row.id).update(status=Status.PAUSED)
    Usage.objects.filter(sandbox_id=row.id).update(eur=Decimal("0.6"))
    with pytest.raises(UsageExhausted, match=r"cost its budget of 0\.5 EUR"):
        resume_begin(**named(row))


def test_no_more_are_paused_than_the_plan_keeps(account: Cast) -> None:
    plan = account.account.plan
    plan.max_snapshots = 1
    plan.save()
    first, second = (account.running_sandbox() for _ in range(2))
    pause_begin(**named(first))
    with pytest.raises(SnapshotCap, match="at most 1 paused"):
        pause_begin(**named(second))
    assert pause_begin(**named(second), beyond_cap=True).status == Status.PAUSING


def test_a_foreign_sandbox_is_not_found(account: Cast, other_account: Cast) -> None:
    row = account.sandbox_row(status=Status.PAUSED)
    for turn in (pause_begin, resume_begin):
        for sandbox_id in (row.id, "sbx_\x00", "nothing"):
            with pytest.raises(SandboxNotFound):
                turn(account_id=other_account.account.id, sandbox_id=sandbox_id)


def test_rows_that_refer_to_a_locked_account_or_sandbox_are_made_meanwhile(
    stack: Stack, account: Cast
) -> None:
    """Else who ends a sandbox and who resumes it wait for each other for ever."""
    row = account.sandbox_row(status=Status.PAUSED)
    principal, token, now = account.principal(), account.mint().token, timezone.now()

    def record() -> str:
        with connection.cursor() as cursor:
            cursor.execute("SET lock_timeout = '5s'")
        try:
            TokenTouch.objects.create(token=token, sandbox=row, first_at=now, last_at=now)
            return audit_record(principal=principal, action="test.locked").action
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as other, transaction.atomic():
        account_locked(account.account.id)
        sandbox_set_budget(principal=principal, sandbox_id=row.id, budget_eur=None)
        resume_begin(**named(row))
        assert other.submit(record).result(30) == "test.locked"
