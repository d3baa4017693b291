"""What happens to a sandbox's row, against a real database and without a host."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal

import pytest
from django.utils import timezone

from accounts.models import AuditEntry, Plan
from accounts.policy import Forbidden
from sandboxes.errors import InvalidRequest, PlanLimit, SandboxNotFound, WrongState
from sandboxes.host.types import HostError
from sandboxes.limits import SandboxRequest
from sandboxes.models import Sandbox, Status
from sandboxes.observers import observe
from sandboxes.reserving import sandbox_reserve
from sandboxes.selectors import limits_of, page_of, sandbox_for, sandboxes_of
from sandboxes.services import (
    sandbox_fail,
    sandbox_refused,
    sandbox_running,
    sandbox_set_timeout,
)
from tests.cast import Cast
from timeline.events import SYSTEM, Event, now_us
from timeline.selectors import events_after

pytestmark = pytest.mark.django_db

REQUEST = SandboxRequest(template="python-3.12", env={"KEY": "s3cret"}, metadata={"run": "1"})


def reserve(cast: Cast, request: SandboxRequest = REQUEST) -> Sandbox:
    return sandbox_reserve(principal=cast.principal(), request=request)[0]


def running(cast: Cast, request: SandboxRequest = REQUEST) -> Sandbox:
    sandbox = sandbox_running(sandbox_id=reserve(cast, request).id)
    assert sandbox is not None
    return sandbox


def on_plan(cast: Cast, name: str) -> Plan:
    plan = Plan.objects.get(name=name)
    cast.account.plan = plan
    cast.account.save()
    return plan


def test_a_reserved_sandbox_starts_and_its_clock_runs(account: Cast) -> None:
    sandbox, spec = sandbox_reserve(principal=account.principal(), request=REQUEST)
    assert sandbox.status == Status.STARTING
    assert sandbox.expires_at - sandbox.created_at == timedelta(seconds=600)
    assert (spec.sandbox_id, spec.cpu, spec.memory_mb) == (sandbox.id, 1.0, 1024)
    assert spec.expires_at == sandbox.expires_at.isoformat()


def test_env_values_go_to_the_host_and_never_to_the_database(account: Cast) -> None:
    sandbox, spec = sandbox_reserve(principal=account.principal(), request=REQUEST)
    assert spec.env == {"KEY": "s3cret"}
    assert sandbox.env_names == ["KEY"]
    row = Sandbox.objects.filter(id=sandbox.id).values().get()
    assert "s3cret" not in str(row)


@pytest.mark.parametrize(
    ("asked", "size"),
    [
        ({}, "small"),
        ({"size": "large"}, "large"),
        ({"cpu": 0.5, "memory_mb": 512}, "small"),
        ({"cpu": 1, "memory_mb": 1024}, "small"),
        ({"cpu": 2}, "medium"),
        ({"memory_mb": 4097}, "large"),
    ],
)
def test_the_size_is_the_named_one_or_the_smallest_that_fits(
    account: Cast, asked: dict[str, object], size: str
) -> None:
    request = SandboxRequest(template="node-22", **asked)  # type: ignore[arg-type]
    assert reserve(account, request).size == size


def test_more_than_the_largest_size_is_a_plan_limit(account: Cast) -> None:
    with pytest.raises(PlanLimit, match="largest"):
        reserve(account, SandboxRequest(template="node-22", cpu=64))


def test_a_size_that_is_not_on_the_menu_is_refused(account: Cast) -> None:
    with pytest.raises(InvalidRequest, match="small, medium, large"):
        reserve(account, SandboxRequest(template="node-22", size="huge"))


def test_a_size_above_the_plan_is_refused_with_its_reason(account: Cast) -> None:
    on_plan(account, "free")
    with pytest.raises(PlanLimit, match="small") as caught:
        reserve(account, SandboxRequest(template="node-22", size="medium"))
    assert caught.value.reason == "size"


def test_the_plan_caps_what_runs_at_once(account: Cast) -> None:
    on_plan(account, "free")
    first = reserve(account)
    with pytest.raises(PlanLimit, match="at most 1") as caught:
        reserve(account)
    assert caught.value.reason == "concurrency"
    sandbox_fail(sandbox_id=first.id, reason="internal", detail="it did not start")
    reserve(account)


def test_a_plan_is_rows_that_an_operator_edits(account: Cast) -> None:
    plan = on_plan(account, "free")
    plan.max_concurrent = 2
    plan.save()
    reserve(account)
    reserve(account)
    with pytest.raises(PlanLimit, match="at most 2"):
        reserve(account)


def test_other_accounts_do_not_count(account: Cast, other_account: Cast) -> None:
    on_plan(account, "free")
    on_plan(other_account, "free")
    reserve(account)
    reserve(other_account)


def test_a_full_host_leaves_no_row(account: Cast) -> None:
    sandbox = reserve(account)
    sandbox_refused(sandbox_id=sandbox.id, error=HostError("host_full", "The host is full."))
    assert not Sandbox.objects.exists()


def test_a_refused_sandbox_fails_with_an_event_that_says_why(account: Cast) -> None:
    sandbox = reserve(account)
    error = HostError("template_unavailable", "The template node-22 is not built here.")
    sandbox_refused(sandbox_id=sandbox.id, error=error)
    sandbox.refresh_from_db()
    assert (sandbox.status, sandbox.reason) == (Status.FAILED, "template_unavailable")
    (event,) = events_after(sandbox_id=sandbox.id)
    assert event.kind == "sandbox.failed"
    assert event.data == {"reason": "template_unavailable", "detail": error.message}


def test_a_sandbox_fails_once(account: Cast) -> None:
    sandbox = reserve(account)
    assert sandbox_fail(sandbox_id=sandbox.id, reason="a", detail="first")
    assert not sandbox_fail(sandbox_id=sandbox.id, reason="b", detail="second")
    assert len(events_after(sandbox_id=sandbox.id)) == 1


def test_one_that_was_ended_while_it_started_does_not_run(account: Cast) -> None:
    sandbox = reserve(account)
    sandbox_fail(sandbox_id=sandbox.id, reason="a", detail="first")
    assert sandbox_running(sandbox_id=sandbox.id) is None


def test_a_new_timeout_counts_from_now_and_is_an_event(account: Cast) -> None:
    sandbox = running(account)
    before = timezone.now()
    changed = sandbox_set_timeout(
        principal=account.principal(), sandbox_id=sandbox.id, timeout_seconds=30
    )
    assert before <= changed.expires_at - timedelta(seconds=30) <= timezone.now()
    (event,) = events_after(sandbox_id=sandbox.id)
    assert event.kind == "sandbox.timeout_changed"
    assert event.data == {
        "timeout_seconds": 30,
        "expires_at": changed.expires_at.isoformat(),
        "was": sandbox.expires_at.isoformat(),
    }
    assert event.actor.name == account.owner.name


def test_a_timeout_over_the_plans_is_refused(account: Cast) -> None:
    sandbox = running(account)
    Plan.objects.filter(accounts=account.account).update(max_timeout_seconds=100)
    with pytest.raises(InvalidRequest, match="100"):
        sandbox_set_timeout(
            principal=account.principal(), sandbox_id=sandbox.id, timeout_seconds=101
        )


def test_only_a_running_sandbox_has_a_clock(account: Cast) -> None:
    sandbox = running(account)
    sandbox_fail(sandbox_id=sandbox.id, reason="a", detail="first")
    with pytest.raises(WrongState, match="failed"):
        sandbox_set_timeout(
            principal=account.principal(), sandbox_id=sandbox.id, timeout_seconds=30
        )


@pytest.mark.parametrize("sandbox_id", ["", "sbx_1", "x\x00", "sbx_" + "0" * 26])
def test_what_is_not_there_is_not_found(account: Cast, sandbox_id: str) -> None:
    with pytest.raises(SandboxNotFound):
        sandbox_for(principal=account.principal(), sandbox_id=sandbox_id)
    with pytest.raises(SandboxNotFound):
        sandbox_set_timeout(
            principal=account.principal(), sandbox_id=sandbox_id, timeout_seconds=30
        )


def test_a_foreign_sandbox_is_not_found(account: Cast, other_account: Cast) -> None:
    sandbox = running(account)
    with pytest.raises(SandboxNotFound):
        sandbox_for(principal=other_account.principal(), sandbox_id=sandbox.id)
    with pytest.raises(SandboxNotFound):
        sandbox_set_timeout(
            principal=other_account.principal(), sandbox_id=sandbox.id, timeout_seconds=30
        )


def test_a_viewer_changes_nothing(account: Cast) -> None:
    sandbox = running(account)
    viewer = account.principal(account.viewer)
    with pytest.raises(Forbidden):
        sandbox_set_timeout(principal=viewer, sandbox_id=sandbox.id, timeout_seconds=30)


def test_what_a_person_makes_is_on_the_audit_record(account: Cast) -> None:
    sandbox = reserve(account)
    entry = AuditEntry.objects.get(account=account.account, action="sandbox.created")
    assert (entry.target, entry.after["template"]) == (sandbox.id, "python-3.12")


def ending(sandbox: Sandbox, kind: str, **data: str) -> Event:
    return Event(sandbox.id, 9, now_us(), kind, SYSTEM, None, dict(data))


def test_a_row_follows_the_event_that_ended_its_sandbox(account: Cast) -> None:
    sandbox = running(account)
    events = [ending(sandbox, "sandbox.failed", reason="out_of_memory", detail="No memory left.")]
    observe(events)
    sandbox.refresh_from_db()
    assert (sandbox.status, sandbox.reason) == (Status.FAILED, "out_of_memory")
    ended_at = sandbox.ended_at
    observe([*events, ending(sandbox, "sandbox.terminated", reason="requested")])
    sandbox.refresh_from_db()
    assert (sandbox.status, sandbox.ended_at) == (Status.FAILED, ended_at)


def test_other_events_and_other_sandboxes_leave_rows_alone(account: Cast) -> None:
    sandbox = running(account)
    observe([ending(sandbox, "sandbox.timeout_changed")])
    observe([Event("sbx_unknown", 1, now_us(), "sandbox.failed", SYSTEM, None, {})])
    sandbox.refresh_from_db()
    assert sandbox.status == Status.RUNNING


def test_pages_go_on_where_the_last_ended_whatever_comes_in_between(account: Cast) -> None:
    made = [reserve(account).id for _ in range(5)]
    rows = sandboxes_of(account.account.id)
    first = page_of(rows, limit=2, cursor=None)
    reserve(account)
    second = page_of(rows, limit=2, cursor=first.next_cursor)
    third = page_of(rows, limit=2, cursor=second.next_cursor)
    ids = [row.id for page in (first, second, third) for row in page.rows]
    assert ids == sorted(made, reverse=True)
    assert (first.total, third.total, third.next_cursor) == (5, 6, None)


@pytest.mark.parametrize("cursor", ["", "x", "c2J4Xw", "é", "=", "c2J4X2hhbGxv" * 3, "\x00"])
def test_a_cursor_that_was_not_given_out_is_refused(account: Cast, cursor: str) -> None:
    with pytest.raises(InvalidRequest, match="cursor"):
        page_of(sandboxes_of(account.account.id), limit=2, cursor=cursor)


def test_metadata_has_to_match_in_every_key(account: Cast) -> None:
    both = reserve(account, SandboxRequest("node-22", metadata={"a": "1", "b": "2"}))
    reserve(account, SandboxRequest("node-22", metadata={"a": "1", "b": "3"}))
    reserve(account, SandboxRequest("node-22", metadata={"a": "1"}))
    found = sandboxes_of(account.account.id, metadata={"a": "1", "b": "2"})
    assert [row.id for row in found] == [both.id]
    assert sandboxes_of(account.account.id, metadata={"a": "1"}).count() == 3


def test_limits_are_the_plans(account: Cast) -> None:
    on_plan(account, "free")
    limits = limits_of(account.account.id)
    assert [(offer.size.name, offer.allowed) for offer in limits.sizes] == [
        ("small", True),
        ("medium", False),
        ("large", False),
    ]
    assert limits.account.plan.trial_credit_eur == Decimal(5)
