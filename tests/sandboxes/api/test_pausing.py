"""POST …/pause and …/resume, what they keep, and what they refuse."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from orkestr import PlanLimitError, Sandbox, SandboxNotReady, SnapshotCapReached

from accounts.models import Plan
from sandboxes.models import Sandbox as Row
from tests.cast import Cast
from tests.machine import lose
from tests.stack import Stack
from tests.waiting import until
from timeline.events import Event
from timeline.selectors import events_after, verify


def turns(sandbox: Sandbox) -> list[Event]:
    """Its pauses and resumes on the timeline."""
    kinds = ["sandbox.paused", "sandbox.resumed"]
    return events_after(sandbox_id=sandbox.id, kinds=kinds)


def on_plan(cast: Cast, **changes: object) -> Plan:
    """A plan of the account's own, so that changing it disturbs nobody."""
    plan = Plan.objects.get(name="payg")
    sizes = list(plan.sizes.all())
    for name, value in {"name": f"plan {cast.account.id}"[:32], **changes}.items():
        setattr(plan, name, value)
    plan.save(force_insert=True)
    plan.sizes.set(sizes)
    cast.account.plan = plan
    cast.account.save()
    return plan


def test_the_answer_is_the_one_of_the_wire(http: httpx.Client, sandbox: Sandbox) -> None:
    answer = http.post(f"/v1/sandboxes/{sandbox.id}/pause")
    assert answer.status_code == 200
    body = answer.json()
    assert set(body) == {
        "sandbox_id",
        "snapshot_id",
        "status",
        "snapshot_size_mb",
        "created_at",
        "keeps",
        "survives_machine_restart",
        "why_not",
    }
    assert body["keeps"] == ["files", "memory", "processes"]
    assert (body["survives_machine_restart"], body["why_not"]) == (True, None)
    assert (body["sandbox_id"], body["status"]) == (sandbox.id, "paused")
    assert body["snapshot_id"].startswith("snap_")
    assert body["snapshot_size_mb"] >= 1
    assert datetime.fromisoformat(body["created_at"]) <= datetime.now(UTC)


def test_files_memory_and_processes_are_as_they_were(sandbox: Sandbox) -> None:
    sandbox.files.write("/workspace/kept", "file")
    counts = "n=0; while :; do n=$((n+1)); echo $n > new; mv new count; sleep 0.01; done"
    sandbox.exec(f"({counts}) >/dev/null 2>&1 & until [ -e count ]; do sleep 0.01; done")
    assert sandbox.pause() == sandbox.id
    assert Sandbox.get(sandbox.id).status == "paused"
    again = Sandbox.resume(sandbox.id)
    assert again.status == "running"
    count = int(again.files.read("/workspace/count"))
    assert again.files.read("/workspace/kept") == "file"
    until(lambda: int(again.files.read("/workspace/count") or 0) > count, what="it counts on")
    until(lambda: len(turns(sandbox)) == 2, what="both turns are stored")
    assert [(one.kind, one.actor.type) for one in turns(sandbox)] == [
        ("sandbox.paused", "token"),
        ("sandbox.resumed", "token"),
    ]
    assert verify(sandbox_id=sandbox.id).gapless


def test_a_resume_starts_a_fresh_timeout(sandbox: Sandbox) -> None:
    Row.objects.filter(id=sandbox.id).update(expires_at=datetime.now(UTC) + timedelta(seconds=60))
    sandbox.pause()
    before = datetime.now(UTC)
    expires_at = Sandbox.resume(sandbox.id).expires_at
    assert expires_at >= before + timedelta(seconds=600)


def test_another_process_can_resume_it(stack: Stack, token: str, sandbox: Sandbox) -> None:
    sandbox.files.write("/workspace/note", "from the first process")
    sandbox.pause()
    script = (
        "import sys; from orkestr import Sandbox\n"
        "print(Sandbox.resume(sys.argv[1]).exec('cat note').stdout)"
    )
    env = {**os.environ, "ORKESTR_BASE_URL": stack.url, "ORKESTR_API_KEY": token}
    done = subprocess.run(
        [sys.executable, "-c", script, sandbox.id],
        env=env,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "from the first process\n"


def test_nothing_can_be_done_in_a_paused_one(http: httpx.Client, sandbox: Sandbox) -> None:
    sandbox.pause()
    for call in (
        lambda: sandbox.exec("true"),
        lambda: sandbox.files.read("/workspace/x"),
        lambda: sandbox.files.write("/workspace/x", ""),
        lambda: sandbox.set_timeout(600),
        lambda: list(sandbox.exec_stream("true")),
    ):
        with pytest.raises(SandboxNotReady, match="paused; resume it first"):
            call()
    answer = http.get(f"/v1/sandboxes/{sandbox.id}/commands")
    assert (answer.status_code, "code" in answer.json()) == (409, False)


def test_each_turn_out_of_its_place_has_one_clear_answer(
    http: httpx.Client, sandbox: Sandbox
) -> None:
    def said(turn: str) -> tuple[int, str]:
        answer = http.post(f"/v1/sandboxes/{sandbox.id}/{turn}")
        return answer.status_code, answer.json().get("detail", "")

    assert said("resume") == (409, "The sandbox is not paused; it runs.")
    assert said("pause")[0] == 200
    assert said("pause") == (409, "The sandbox is paused already; resume it to work in it.")
    sandbox.terminate()
    for turn in ("pause", "resume"):
        assert said(turn) == (409, "The sandbox was terminated; create another.")


def test_of_many_at_once_one_wins(http: httpx.Client, sandbox: Sandbox) -> None:
    for turn in ("pause", "resume"):
        with ThreadPoolExecutor(6) as pool:
            address = f"/v1/sandboxes/{sandbox.id}/{turn}"
            answers = list(pool.map(lambda _, to=address: http.post(to), range(6)))
        assert sorted(answer.status_code for answer in answers) == [200, *[409] * 5]
        for answer in answers:
            assert answer.status_code == 200 or answer.json()["detail"].endswith(".")
    assert sandbox.refresh().status == "running"
    assert sandbox.exec("echo runs").stdout == "runs\n"


def test_pauses_and_resumes_in_a_row_lose_nothing(sandbox: Sandbox) -> None:
    sandbox.exec("(while :; do sleep 1; done) >/dev/null 2>&1 & echo $! > pid")
    for _ in range(10):
        sandbox.pause()
        Sandbox.resume(sandbox.id)
    assert sandbox.exec("kill -0 $(cat pid)").exit_code == 0
    until(lambda: len(turns(sandbox)) == 20, what="all turns are stored")


def test_it_is_terminated_while_paused(sandbox: Sandbox) -> None:
    sandbox.pause()
    sandbox.terminate()
    assert Sandbox.get(sandbox.id).status == "terminated"
    with pytest.raises(SandboxNotReady, match="terminated"):
        Sandbox.resume(sandbox.id)


def test_paused_ones_do_not_count_as_running_but_as_snapshots(
    sandbox_client: object, account: Cast
) -> None:
    on_plan(account, max_concurrent=1, max_snapshots=1)
    first = Sandbox.create(template="debian-12")
    with pytest.raises(PlanLimitError, match="at most 1"):
        Sandbox.create(template="debian-12")
    first.pause()
    second = Sandbox.create(template="debian-12")
    with pytest.raises(SnapshotCapReached, match="at most 1 paused"):
        second.pause()
    assert second.exec("echo runs").stdout == "runs\n"
    with pytest.raises(PlanLimitError, match="at most 1 sandboxes at once"):
        Sandbox.resume(first.id)
    assert Sandbox.get(first.id).status == "paused"
    second.terminate()
    assert Sandbox.resume(first.id).status == "running"


def test_the_cap_holds_under_races(sandbox_client: object, account: Cast) -> None:
    on_plan(account, max_snapshots=2)
    made = [Sandbox.create(template="debian-12") for _ in range(5)]

    def park(sandbox: Sandbox) -> bool:
        try:
            sandbox.pause()
        except SnapshotCapReached:
            return False
        return True

    with ThreadPoolExecutor(5) as pool:
        assert sum(pool.map(park, made)) == 2
    assert len(Sandbox.list(status="paused")) == 2


def test_one_with_auto_resume_wakes_for_a_command(sandbox_client: object) -> None:
    sandbox = Sandbox.create(template="debian-12", auto_resume=True)
    sandbox.files.write("/workspace/kept", "file")
    sandbox.pause()
    assert sandbox.exec("cat kept").stdout == "file"
    assert sandbox.refresh().status == "running"
    sandbox.pause()
    assert sandbox.files.read("/workspace/kept") == "file"
    until(lambda: len(turns(sandbox)) == 4, what="the turns are stored")
    assert [one.data["reason"] for one in turns(sandbox)] == ["requested", "auto_resume"] * 2


def test_many_calls_wake_it_once(sandbox_client: object) -> None:
    sandbox = Sandbox.create(template="debian-12", auto_resume=True)
    sandbox.pause()
    with ThreadPoolExecutor(8) as pool:
        outputs = list(pool.map(lambda n: sandbox.exec(f"echo {n}").stdout, range(8)))
    assert outputs == [f"{n}\n" for n in range(8)]
    until(lambda: len(turns(sandbox)) >= 2, what="the turns are stored")
    assert [one.kind for one in turns(sandbox)] == ["sandbox.paused", "sandbox.resumed"]


def test_waking_by_itself_passes_the_same_gates(sandbox_client: object, account: Cast) -> None:
    on_plan(account, max_concurrent=1)
    sandbox = Sandbox.create(template="debian-12", auto_resume=True)
    sandbox.pause()
    Sandbox.create(template="debian-12")
    with pytest.raises(PlanLimitError, match="at most 1"):
        sandbox.exec("true")
    assert sandbox.refresh().status == "paused"


def test_a_token_that_may_only_read_wakes_nothing(
    stack: Stack, sandbox_client: object, account: Cast
) -> None:
    sandbox = Sandbox.create(template="debian-12", auto_resume=True)
    sandbox.pause()
    text = account.mint(scopes=["sandboxes:read"]).text
    answer = httpx.get(
        f"{stack.url}/v1/sandboxes/{sandbox.id}/files?path=/workspace",
        headers={"Authorization": f"Bearer {text}"},
    )
    assert answer.status_code == 409
    assert sandbox.refresh().status == "paused"


def test_a_command_under_way_goes_on_after_the_resume(sandbox: Sandbox) -> None:
    chunks: list[str] = []
    ends: list[int | None] = []

    def follow() -> None:
        command = "echo begun; until [ -e go ]; do sleep 0.01; done; echo done"
        for chunk in sandbox.exec_stream(command, timeout_seconds=2):
            (ends.append(chunk.exit_code) if chunk.is_final else chunks.append(chunk.data))

    thread = threading.Thread(target=follow)
    thread.start()
    until(lambda: chunks == ["begun\n"], what="it has begun")
    sandbox.pause()
    paused_at = time.monotonic()
    until(lambda: time.monotonic() - paused_at > 2.2, what="its timeout would be over")
    Sandbox.resume(sandbox.id)
    sandbox.files.write("/workspace/go", "")
    thread.join(20)
    assert (chunks, ends) == (["begun\n", "done\n"], [0])


def test_who_waits_for_a_command_is_told_of_the_pause(sandbox: Sandbox) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(sandbox.exec, "touch begun; sleep 1; touch over")
        until(lambda: sandbox.files.exists("/workspace/begun"), what="it has begun")
        sandbox.pause()
        with pytest.raises(SandboxNotReady, match="paused meanwhile"):
            waiting.result(20)
    Sandbox.resume(sandbox.id)
    until(lambda: sandbox.files.exists("/workspace/over"), what="it ends all the same")


def test_a_pause_outlives_a_killed_host(stack: Stack, sandbox: Sandbox) -> None:
    sandbox.exec("(while :; do sleep 1; done) >/dev/null 2>&1 & echo $! > pid")
    sandbox.pause()
    stack.restart("host")
    assert sandbox.refresh().status == "paused"
    again = Sandbox.resume(sandbox.id)
    assert again.exec("kill -0 $(cat pid) && echo alive").stdout == "alive\n"


@pytest.mark.parametrize("turn", ["pausing", "resuming"])
def test_a_turn_that_was_cut_off_ends_as_the_host_has_it(
    stack: Stack, sandbox: Sandbox, turn: str
) -> None:
    """The server dies after the host has been asked."""
    sandbox.pause()
    if turn == "resuming":
        Sandbox.resume(sandbox.id)
    Row.objects.filter(id=sandbox.id).update(
        status=turn, turned_at=datetime.now(UTC) - timedelta(minutes=5)
    )
    ends = {"pausing": "paused", "resuming": "running"}[turn]
    until(lambda: sandbox.refresh().status == ends, what="it is settled")


def test_time_that_runs_out_parks_it_when_that_is_wanted(sandbox_client: object) -> None:
    sandbox = Sandbox.create(template="debian-12", on_timeout="pause")
    sandbox.exec("echo kept > file")
    Row.objects.filter(id=sandbox.id).update(expires_at=datetime.now(UTC))
    until(lambda: sandbox.refresh().status == "paused", what="it is parked")
    until(lambda: len(turns(sandbox)) == 1, what="that is stored")
    (event,) = turns(sandbox)
    assert (event.actor.type, event.data["reason"]) == ("system", "timeout")
    assert Sandbox.resume(sandbox.id).exec("cat file").stdout == "kept\n"


@pytest.mark.parametrize(("beyond", "ends"), [(True, "paused"), (False, "terminated")])
def test_at_the_cap_the_plan_says_whether_it_is_parked_or_ended(
    sandbox_client: object, account: Cast, beyond: bool, ends: str
) -> None:
    on_plan(account, max_snapshots=0, pauses_beyond_cap=beyond)
    sandbox = Sandbox.create(template="debian-12", on_timeout="pause")
    Row.objects.filter(id=sandbox.id).update(expires_at=datetime.now(UTC))
    until(lambda: sandbox.refresh().status == ends, what=f"it is {ends}")


def test_a_plan_keeps_paused_ones_for_its_days(sandbox_client: object, account: Cast) -> None:
    on_plan(account, paused_days=3)
    sandbox = Sandbox.create(template="debian-12")
    sandbox.pause()
    kept_until = Sandbox.get(sandbox.id).paused_expires_at
    assert kept_until is not None
    assert timedelta(days=2.9) < kept_until - datetime.now(UTC) <= timedelta(days=3)
    Row.objects.filter(id=sandbox.id).update(paused_expires_at=datetime.now(UTC))
    until(lambda: sandbox.refresh().status == "terminated", what="its days are over")
    assert Row.objects.get(id=sandbox.id).reason == "paused_expired"
    with pytest.raises(SandboxNotReady, match="paused for longer"):
        Sandbox.resume(sandbox.id)


def test_a_plan_without_days_keeps_them_for_ever(sandbox: Sandbox) -> None:
    sandbox.pause()
    assert Sandbox.get(sandbox.id).paused_expires_at is None


def test_a_paused_one_outlives_the_machines_restart(stack: Stack, sandbox: Sandbox) -> None:
    """Its process and its host are gone; its disk and its memory are there."""
    counts = "n=0; while :; do n=$((n+1)); echo $n > new; mv new count; sleep 0.01; done"
    sandbox.exec(f"({counts}) >/dev/null 2>&1 & until [ -e count ]; do sleep 0.01; done")
    sandbox.pause()
    lose(stack, [sandbox.id])
    assert sandbox.refresh().status == "paused"
    again = Sandbox.resume(sandbox.id)
    ticks = "was=$(cat count); until [ $(cat count) -gt $was ]; do sleep 0.01; done"
    assert again.exec(ticks, timeout_seconds=20).exit_code == 0


def test_one_whose_memory_is_gone_too_fails(stack: Stack, sandbox: Sandbox) -> None:
    sandbox.pause()
    for memory in (stack.layout.host / "slots").glob("*/memory"):
        shutil.rmtree(memory)
    lose(stack, [sandbox.id])
    until(lambda: sandbox.refresh().status == "failed", seconds=30, what="the row follows")
    with pytest.raises(SandboxNotReady, match="failed"):
        Sandbox.resume(sandbox.id)
