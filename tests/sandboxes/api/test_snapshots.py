"""Named snapshots and forks: /v1/sandboxes/snapshots and create(snapshot=)."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from orkestr import PlanLimitError, Sandbox, SandboxNotReady, Snapshot, SnapshotCapReached
from orkestr._client import OrkestrClient

from sandboxes.models import Snapshot as Row
from tests.cast import Cast
from tests.sandboxes.api.test_pausing import on_plan
from tests.stack import Stack
from tests.waiting import until
from timeline.selectors import events_after


def test_a_fork_has_files_and_processes_and_the_source_goes_on(
    http: httpx.Client, sandbox: Sandbox
) -> None:
    sandbox.files.write("/workspace/file", "base")
    loop = "while :; do n=$((n+1)); echo $n > ticks.new; mv ticks.new ticks; sleep 0.01; done"
    sandbox.exec(f"({loop}) >/dev/null 2>&1 & echo $! > pid")
    snapshot = sandbox.snapshot("warm")
    assert (snapshot.status, snapshot.name) == ("ready", "warm")
    assert snapshot.id.startswith("snap_")
    assert (snapshot.template, snapshot.network) == ("debian-12", "off")
    assert snapshot.source_sandbox_id == sandbox.id
    assert snapshot.size_mb is not None
    assert snapshot.size_mb >= 1
    assert sandbox.exec("kill -0 $(cat pid)").exit_code == 0
    sandbox.files.write("/workspace/file", "source")

    forks = [Sandbox.create(snapshot=snapshot.id, env={"N": str(n)}) for n in range(2)]
    for fork in forks:
        assert (fork.status, fork.template) == ("running", "debian-12")
        assert fork.exec("echo $(cat file) $N > file; cat file").exit_code == 0
    assert [fork.files.read("/workspace/file") for fork in forks] == ["base 0\n", "base 1\n"]
    assert http.get(f"/v1/sandboxes/snapshots/{snapshot.id}").json()["includes_memory"] is True
    for one in (sandbox, *forks):
        ticks = "was=$(cat ticks); until [ $(cat ticks) -gt $was ]; do sleep 0.01; done"
        assert one.exec(ticks, timeout_seconds=20).exit_code == 0
    forks[0].exec("kill $(cat pid)")
    assert forks[1].exec("kill -0 $(cat pid)").exit_code == 0
    assert sandbox.files.read("/workspace/file") == "source"
    sandbox.terminate()
    assert Sandbox.create(snapshot=snapshot.id).files.read("/workspace/file") == "base"


def test_one_in_which_nothing_ran_is_of_files_alone_and_says_so(
    http: httpx.Client, sandbox: Sandbox
) -> None:
    sandbox.exec("echo base > file")
    snapshot = sandbox.snapshot()
    told = http.get(f"/v1/sandboxes/snapshots/{snapshot.id}").json()
    assert told["includes_memory"] is False
    assert told["why_no_memory"] == "No process ran in it, so there was no memory to keep."
    fork = Sandbox.create(snapshot=snapshot.id)
    assert fork.exec("cat file; ps -e -o comm= | sort").stdout.split() == [
        "base",
        *sandbox.exec("ps -e -o comm= | sort").stdout.split(),
    ]


def test_it_is_on_both_timelines(sandbox: Sandbox) -> None:
    snapshot = sandbox.snapshot("warm")
    fork = Sandbox.create(snapshot=snapshot.id)

    def told(one: Sandbox, kind: str) -> list[dict[str, object]]:
        return [event.data for event in events_after(sandbox_id=one.id, kinds=[kind])]

    until(lambda: bool(told(sandbox, "snapshot.created")), what="the source says so")
    until(lambda: bool(told(fork, "sandbox.created")), what="the fork says so")
    assert told(sandbox, "snapshot.created")[0]["snapshot_id"] == snapshot.id
    assert told(fork, "sandbox.created")[0]["snapshot"] == snapshot.id


def test_they_are_listed_newest_first_and_deleted(sandbox: Sandbox) -> None:
    first, second = sandbox.snapshot(), sandbox.snapshot("two")
    assert [one.id for one in Snapshot.list()] == [second.id, first.id]
    assert Snapshot.get(second.id).name == "two"
    fork = Sandbox.create(snapshot=second.id)
    for _ in range(2):
        Snapshot.delete(second.id)
    assert [one.id for one in Snapshot.list()] == [first.id]
    assert fork.exec("echo alive").stdout == "alive\n"


def test_what_was_deleted_is_not_found(http: httpx.Client, sandbox: Sandbox) -> None:
    snapshot = sandbox.snapshot()
    Snapshot.delete(snapshot.id)
    assert http.get(f"/v1/sandboxes/snapshots/{snapshot.id}").status_code == 404
    answer = http.post("/v1/sandboxes", json={"snapshot": snapshot.id})
    assert answer.status_code == 404


def test_a_foreign_one_is_answered_like_an_absent_one(
    stack: Stack, sandbox: Sandbox, other_account: Cast
) -> None:
    snapshot = sandbox.snapshot()
    headers = {"Authorization": f"Bearer {other_account.mint().text}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=60) as other:
        for found in (snapshot.id, "snap_" + "0" * 26):
            assert other.get(f"/v1/sandboxes/snapshots/{found}").status_code == 404
            assert other.delete(f"/v1/sandboxes/snapshots/{found}").status_code == 404
            assert other.post("/v1/sandboxes", json={"snapshot": found}).status_code == 404
        assert other.get("/v1/sandboxes/snapshots").json() == {"snapshots": []}
    assert Snapshot.get(snapshot.id).status == "ready"


def test_the_plans_cap_holds_under_races(sandbox_client: OrkestrClient, account: Cast) -> None:
    on_plan(account, max_named_snapshots=2)
    sandbox = Sandbox.create(template="debian-12")

    def take(_: int) -> bool:
        try:
            sandbox.snapshot()
        except SnapshotCapReached as error:
            assert "delete one" in str(error)
            return False
        return True

    with ThreadPoolExecutor(5) as pool:
        assert sum(pool.map(take, range(5))) == 2
    Snapshot.delete(Snapshot.list()[0].id)
    assert sandbox.snapshot().status == "ready"


def test_a_fork_passes_the_gates_of_a_create(sandbox_client: OrkestrClient, account: Cast) -> None:
    on_plan(account, max_concurrent=1)
    snapshot = Sandbox.create(template="debian-12").snapshot()
    with pytest.raises(PlanLimitError, match="at most 1"):
        Sandbox.create(snapshot=snapshot.id)


def test_only_a_running_one_can_be_captured(sandbox: Sandbox) -> None:
    sandbox.pause()
    with pytest.raises(SandboxNotReady, match="resume it first"):
        sandbox.snapshot()
    sandbox.terminate()
    with pytest.raises(SandboxNotReady, match="terminated"):
        sandbox.snapshot()


def test_one_that_is_not_ready_cannot_be_forked(http: httpx.Client, sandbox: Sandbox) -> None:
    snapshot = sandbox.snapshot()
    Row.objects.filter(id=snapshot.id).update(status="capturing")
    answer = http.post("/v1/sandboxes", json={"snapshot": snapshot.id})
    assert (answer.status_code, "code" in answer.json()) == (409, False)


def test_one_that_nobody_finished_fails_and_its_copy_is_removed(
    stack: Stack, sandbox: Sandbox
) -> None:
    snapshot = sandbox.snapshot()
    copy = stack.layout.host / "snapshots" / snapshot.id
    assert copy.is_dir()
    long_ago = datetime.now(UTC) - timedelta(hours=1)
    Row.objects.filter(id=snapshot.id).update(status="capturing", created_at=long_ago)
    until(lambda: Snapshot.get(snapshot.id).status == "failed", what="it is given up")
    assert Snapshot.get(snapshot.id).error_message
    assert not copy.exists()


@pytest.mark.parametrize("name", ["x" * 101, "a\x00b"])
def test_a_name_that_is_none_is_refused(http: httpx.Client, sandbox: Sandbox, name: str) -> None:
    answer = http.post(f"/v1/sandboxes/{sandbox.id}/snapshots", json={"name": name})
    assert answer.status_code == 422
    assert answer.json()["detail"].endswith(".")


def test_template_and_snapshot_together_make_no_sense(http: httpx.Client) -> None:
    body = {"template": "debian-12", "snapshot": "snap_" + "0" * 26}
    assert http.post("/v1/sandboxes", json=body).status_code == 422
    assert http.post("/v1/sandboxes", json={}).status_code == 422
