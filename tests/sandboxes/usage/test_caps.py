"""What a plan's credit and its longest run mean for what runs, and for what is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import httpx
import pytest
from orkestr import PlanLimitError, Sandbox, SandboxNotReady
from orkestr._client import OrkestrClient
from orkestr.errors import OrkestrError

from accounts.models import Plan, Size
from accounts.policy import Forbidden
from accounts.selectors import principal_of_token
from sandboxes.budgets import cap_set, sandbox_set_budget
from sandboxes.errors import InvalidRequest, PlanLimit, SandboxNotFound, UsageExhausted
from sandboxes.limits import BUDGET_KEY, SandboxRequest, checked
from sandboxes.models import Sandbox as Row
from sandboxes.models import Status
from sandboxes.reserving import sandbox_reserve
from sandboxes.selectors import limits_of
from sandboxes.services import sandbox_running, sandbox_set_timeout
from sandboxes.usage.models import Spending
from tests.cast import Cast
from tests.stack import Stack
from tests.waiting import until
from timeline.events import Actor, Event
from timeline.selectors import events_after

REQUEST = SandboxRequest("debian-12")
WORK = "n=0; while [ $n -lt 200000 ]; do n=$((n+1)); done"


@pytest.fixture
def plan(account: Cast) -> Iterator[Plan]:
    """One that stops at 0.10 EUR, with a size that costs that in 36 ms of CPU."""
    rates = {"eur_per_cpu_hour": 9999, "eur_per_gb_hour": 0}
    shape = {"cpu": 1, "memory_mb": 1024, "disk_mb": 2048, "pids": 512}
    size = Size.objects.create(name="zz-dear", **shape, **rates)
    plan = Plan.objects.create(
        name="zz-stops",
        networks=["off"],
        max_concurrent=5,
        max_snapshots=1,
        max_named_snapshots=1,
        max_timeout_seconds=3600,
        trial_credit_eur=Decimal("0.10"),
        stops_at_credit=True,
    )
    plan.sizes.add(size)
    was = account.account.plan
    use(account, plan)
    yield plan
    use(account, was)
    plan.delete()
    size.delete()


def use(account: Cast, plan: Plan) -> None:
    account.account.plan = plan
    account.account.save(update_fields=["plan"])


def spend(account: Cast, eur: str) -> None:
    Spending.objects.update_or_create(account=account.account, defaults={"eur": Decimal(eur)})


def started(account: Cast) -> Row:
    request = SandboxRequest("debian-12", size="zz-dear")
    row = sandbox_reserve(principal=account.principal(), request=request)[0]
    running = sandbox_running(sandbox_id=row.id)
    assert running is not None
    return running


def last_events(sandbox_id: str) -> list[Event]:
    kinds = ["limit.hit", "sandbox.terminated", "sandbox.paused"]
    return events_after(sandbox_id=sandbox_id, kinds=kinds)


def test_a_create_beyond_the_credit_is_refused(account: Cast, plan: Plan) -> None:
    spend(account, "0.0999")
    started(account)
    spend(account, "0.1")
    with pytest.raises(UsageExhausted, match=r"credit of 0\.10 EUR is used up") as caught:
        started(account)
    assert caught.value.reason == "trial_exhausted"


def test_a_clock_is_not_restarted_beyond_the_credit(account: Cast, plan: Plan) -> None:
    row = started(account)
    spend(account, "0.2")
    with pytest.raises(UsageExhausted):
        sandbox_set_timeout(principal=account.principal(), sandbox_id=row.id, timeout_seconds=60)
    row.refresh_from_db()
    assert row.timeout_seconds == 600


def test_a_plan_without_that_wall_goes_on_and_is_billed(account: Cast) -> None:
    spend(account, "26.5")
    sandbox_reserve(principal=account.principal(), request=REQUEST)
    limits = limits_of(account.account.id)
    assert limits.credit_used_eur == limits.account.plan.trial_credit_eur == 25
    assert limits.spent_eur == Decimal("26.5")


def test_a_clock_never_promises_more_than_the_longest_run(account: Cast, plan: Plan) -> None:
    plan.max_running_lifetime_seconds = 60
    plan.save()
    row = started(account)
    assert row.expires_at - row.created_at == timedelta(seconds=60)
    long_ago = datetime.now(UTC) - timedelta(seconds=61)
    Row.objects.filter(id=row.id).update(started_at=long_ago)
    with pytest.raises(PlanLimit) as caught:
        sandbox_set_timeout(principal=account.principal(), sandbox_id=row.id, timeout_seconds=60)
    assert caught.value.reason == "lifetime_cap_reached"


def test_what_runs_when_the_credit_is_used_up_is_paused_and_told_why(
    stack: Stack, account: Cast, plan: Plan, sandbox_client: OrkestrClient, http: httpx.Client
) -> None:
    plan.max_snapshots = 0  # a stop pauses also where nobody may pause
    plan.save()
    sandbox = Sandbox.create(template="debian-12", size="zz-dear")
    idle = Sandbox.create(template="debian-12", size="zz-dear")
    sandbox.files.write("/workspace/kept.txt", "kept")
    with suppress(OrkestrError):  # it may be paused in the middle of it
        sandbox.exec(WORK)
    for one in (sandbox, idle):
        until(lambda: one.refresh().status == "paused", what="it is paused")  # noqa: B023
        assert Row.objects.get(id=one.id).reason == "usage_exhausted"
        until(lambda: len(last_events(one.id)) == 2, what="its pause is stored")  # noqa: B023
        hit, pause = last_events(one.id)
        assert (hit.kind, hit.data["limit"], hit.data["cap"]) == ("limit.hit", "budget", 0.1)
        assert hit.data["value"] >= 0.1
        assert (pause.kind, pause.data["reason"]) == ("sandbox.paused", "usage_exhausted")
        assert {hit.actor.type, pause.actor.type} == {"policy"}
        with pytest.raises(SandboxNotReady, match="credit is used up"):
            one.exec("true")
        with pytest.raises(PlanLimitError, match="credit"):
            Sandbox.resume(one.id)
    with pytest.raises(PlanLimitError, match="credit"):
        Sandbox.create(template="debian-12", size="zz-dear")
    answer = http.post("/v1/sandboxes", json={"template": "debian-12", "size": "zz-dear"})
    assert answer.status_code == 403
    assert answer.json()["code"] == "usage_exhausted"
    assert answer.json()["reason"] == "trial_exhausted"
    limits = Sandbox.limits()
    assert limits.trial_credit_used_eur == limits.trial_credit_eur == 0.1
    plan.trial_credit_eur = Decimal(99)
    plan.save()
    woken = Sandbox.resume(sandbox.id)
    assert woken.files.read("/workspace/kept.txt") == "kept"
    assert Row.objects.get(id=sandbox.id).reason == ""


def test_a_run_is_paused_at_its_budget_and_at_the_account_s_cap(
    stack: Stack, account: Cast, plan: Plan, sandbox_client: OrkestrClient
) -> None:
    plan.stops_at_credit = False
    plan.save()
    budget = {BUDGET_KEY: "0.05"}
    sandbox = Sandbox.create(template="debian-12", size="zz-dear", metadata=budget)
    with suppress(OrkestrError):
        sandbox.exec(WORK)
    until(lambda: sandbox.refresh().status == "paused", what="its budget pauses it")
    until(lambda: len(last_events(sandbox.id)) == 2, what="its pause is stored")
    hit, pause = last_events(sandbox.id)
    assert (hit.data["limit"], hit.data["cap"]) == ("run_budget", 0.05)
    assert pause.data["reason"] == "budget_reached"
    assert hit.actor == pause.actor == Actor("policy", name="budget")
    with pytest.raises(PlanLimitError, match=r"budget of 0\.05 EUR"):
        Sandbox.resume(sandbox.id)
    with pytest.raises(SandboxNotReady, match="has cost its budget"):
        sandbox.exec("true")

    person = account.principal(account.operator)
    sandbox_set_budget(principal=person, sandbox_id=sandbox.id, budget_eur=Decimal(1_000))
    Sandbox.resume(sandbox.id)
    cap_set(principal=account.principal(), monthly_eur=Decimal("0.01"))
    until(lambda: sandbox.refresh().status == "paused", what="the cap pauses it")
    until(lambda: len(last_events(sandbox.id)) == 4, what="its pause is stored")
    hit, pause = last_events(sandbox.id)[2:]
    assert (hit.data["limit"], hit.data["cap"]) == ("monthly_cap", 0.01)
    assert pause.data["reason"] == "monthly_cap_reached"
    with pytest.raises(PlanLimitError, match=r"cap of 0\.01 EUR"):
        Sandbox.create(template="debian-12", size="zz-dear")
    cap_set(principal=account.principal(), monthly_eur=None)
    assert Sandbox.resume(sandbox.id).status == "running"


@pytest.mark.parametrize("said", ["", "free", "-1", "0", "NaN", "Infinity", "1e99"])
def test_a_budget_that_is_none_is_refused(account: Cast, said: str) -> None:
    with pytest.raises(InvalidRequest, match=r"budget|number of euros"):
        checked(SandboxRequest("debian-12", metadata={BUDGET_KEY: said}))


def test_a_budget_is_for_people_to_change_and_a_cap_for_owners(
    account: Cast, other_account: Cast
) -> None:
    row = account.sandbox_row(status=Status.PAUSED)
    token = principal_of_token(account.mint().token)
    with pytest.raises(Forbidden, match="A person"):
        sandbox_set_budget(principal=token, sandbox_id=row.id, budget_eur=None)
    with pytest.raises(Forbidden):
        cap_set(principal=account.principal(account.operator), monthly_eur=Decimal(1))
    with pytest.raises(SandboxNotFound):
        sandbox_set_budget(
            principal=other_account.principal(), sandbox_id=row.id, budget_eur=Decimal(1)
        )
    sandbox_set_budget(principal=account.principal(), sandbox_id=row.id, budget_eur=Decimal("0.5"))
    (event,) = events_after(sandbox_id=row.id, kinds=["sandbox.budget_changed"])
    assert event.data == {"budget_eur": "0.5", "was": None}


def test_what_has_run_as_long_as_the_plan_allows_is_ended(
    stack: Stack, account: Cast, plan: Plan, sandbox_client: OrkestrClient
) -> None:
    Size.objects.filter(name="zz-dear").update(eur_per_cpu_hour=0)
    sandbox = Sandbox.create(template="debian-12", size="zz-dear")
    plan.max_running_lifetime_seconds = 1
    plan.save()
    until(lambda: sandbox.refresh().status == "terminated", what="it is ended")
    assert Row.objects.get(id=sandbox.id).reason == "lifetime_cap_reached"
    until(lambda: len(last_events(sandbox.id)) == 2, what="its end is stored")
    hit, end = last_events(sandbox.id)
    assert (hit.data["limit"], hit.data["cap"]) == ("lifetime", 1)
    assert end.data == {"reason": "lifetime_cap_reached"}
    assert Row.objects.get(id=sandbox.id).status == Status.TERMINATED


def test_what_is_paused_stays_so_once_the_credit_is_used_up(
    stack: Stack, account: Cast, plan: Plan, sandbox_client: OrkestrClient
) -> None:
    Size.objects.filter(name="zz-dear").update(eur_per_cpu_hour=0)
    sandbox = Sandbox.create(template="debian-12", size="zz-dear")
    sandbox.pause()
    spend(account, "0.1")
    with pytest.raises(PlanLimitError, match="credit"):
        Sandbox.resume(sandbox.id)
    assert sandbox.refresh().status == "paused"
    spend(account, "0.05")
    assert Sandbox.resume(sandbox.id).status == "running"
    sandbox.terminate()
