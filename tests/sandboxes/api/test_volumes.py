"""Persistent volumes: /v1/sandboxes/volumes and create(volume=)."""

from __future__ import annotations

import os
import signal
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from django.core.management import CommandError, call_command
from orkestr import APIError, PlanLimitError, Sandbox, SandboxNotFound, SandboxNotReady, Volume
from orkestr._client import OrkestrClient

from sandboxes.models import Volume as Row
from sandboxes.models import new_volume_id
from sandboxes.webhooks.models import Delivery, Webhook
from sandboxes.webhooks.signing import new_salt
from tests.cast import Cast
from tests.machine import first_process
from tests.sandboxes.api.test_pausing import on_plan
from tests.sandboxes.test_reaper import status
from tests.stack import Stack
from tests.waiting import until
from timeline.selectors import events_after

UNKNOWN = "vol_" + "0" * 26


def disk_of(stack: Stack, volume_id: str) -> Path:
    return stack.layout.host / "volumes" / f"{volume_id}.ext4"


def told(sandbox: Sandbox, kind: str) -> list[dict[str, object]]:
    return [event.data for event in events_after(sandbox_id=sandbox.id, kinds=[kind])]


def only() -> Volume:
    (volume,) = Volume.list()
    return volume


def test_a_name_makes_a_volume_that_the_next_sandbox_finds(sandbox_client: OrkestrClient) -> None:
    first = Sandbox.create(template="debian-12", volume="my-cache")
    assert first.volume == "my-cache"
    first.files.write("/persist/deep/file", "kept")
    volume = only()
    assert (volume.name, volume.size_mb, volume.status) == ("my-cache", 10240, "ready")
    assert volume.id.startswith("vol_")
    assert (volume.attached_sandbox_id, volume.region) == (first.id, "local")
    first.terminate()
    assert only().attached_sandbox_id is None
    second = Sandbox.create(template="python-3.12", volume=volume.id)
    assert second.volume == "my-cache"
    assert second.files.read("/persist/deep/file") == "kept"
    assert "9.9G" in second.exec("df -h /persist").stdout
    until(lambda: bool(told(second, "volume.attached")), what="the timeline says so")
    (attached,) = told(second, "volume.attached")
    assert (attached["name"], attached["volume_id"]) == ("my-cache", volume.id)
    assert told(second, "sandbox.created")[0]["volume"] == "my-cache"
    second.terminate()
    assert Sandbox.get(second.id).volume == "my-cache"


def test_a_second_holder_is_told_who_has_it(http: httpx.Client, stack: Stack) -> None:
    body = {"template": "debian-12", "volume": "one"}
    made = http.post("/v1/sandboxes", json=body).json()
    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: http.post("/v1/sandboxes", json=body), range(3)))
    for answer in answers:
        assert (answer.status_code, answer.json()["code"]) == (409, "volume_in_use")
        assert made["id"] in answer.json()["detail"]
    volume = http.get("/v1/sandboxes/volumes").json()["volumes"][0]
    assert http.get("/v1/sandboxes").json()["total"] == 1
    address = f"/v1/sandboxes/volumes/{volume['id']}"
    for call in (
        http.delete(address),
        http.post(f"{address}/move", json={"region": "local"}),
    ):
        assert (call.status_code, call.json()["code"]) == (409, "volume_in_use")
    assert disk_of(stack, volume["id"]).exists()


def test_of_creates_at_once_one_gets_it(sandbox_client: OrkestrClient) -> None:
    def create(_: int) -> bool:
        try:
            Sandbox.create(template="debian-12", volume="raced")
        except SandboxNotReady:
            return False
        return True

    with ThreadPoolExecutor(5) as pool:
        assert sum(pool.map(create, range(5))) == 1
    assert only().name == "raced"


def test_a_paused_sandbox_keeps_it_and_a_failed_one_lets_go(
    sandbox_client: OrkestrClient, stack: Stack
) -> None:
    sandbox = Sandbox.create(template="debian-12", volume="kept")
    sandbox.exec("echo before > /persist/file")
    sandbox.pause()
    with pytest.raises(SandboxNotReady, match=sandbox.id):
        Sandbox.create(template="debian-12", volume="kept")
    Sandbox.resume(sandbox.id)
    sandbox.exec("echo after >> /persist/file")
    os.kill(first_process(stack, sandbox.id), signal.SIGKILL)
    until(lambda: status(sandbox.id) == "failed", what="it has failed")
    after = Sandbox.create(template="debian-12", volume="kept")
    assert after.files.read("/persist/file") == "before\nafter\n"


def test_it_is_made_with_a_size_and_a_lifetime_that_can_be_changed(
    sandbox_client: OrkestrClient,
) -> None:
    volume = Volume.create("tiny", size_gb=0.25, max_lifetime_hours=6, region="local")
    assert (volume.size_mb, volume.max_lifetime_hours, volume.region) == (256, 6, "local")
    assert (volume.node_id, volume.max_lifetime_days) == (None, None)
    created = Row.objects.get(id=volume.id).created_at
    assert volume.expires_at == (created + timedelta(hours=6)).isoformat()
    longer = Volume.update(volume.id, max_lifetime_days=30)
    assert (longer.max_lifetime_days, longer.max_lifetime_hours) == (30, None)
    assert longer.expires_at == (created + timedelta(days=30)).isoformat()
    assert Volume.update(volume.id, max_lifetime_hours=None).expires_at is None
    sandbox = Sandbox.create(template="debian-12", volume="tiny")
    full = sandbox.exec("head -c 300000000 /dev/zero > /persist/fill")
    assert (full.exit_code, "No space left" in full.stderr) == (1, True)
    assert sandbox.exec("head -c 300000000 /dev/zero > /workspace/fill").exit_code == 0


def test_a_deleted_one_is_gone_with_its_disk_and_its_name_is_free(
    sandbox_client: OrkestrClient, stack: Stack
) -> None:
    with Sandbox.create(template="debian-12", volume="again") as sandbox:
        sandbox.files.write("/persist/file", "old")
    volume = only()
    for _ in range(2):
        Volume.delete(volume.id)
    assert Volume.list() == []
    assert not disk_of(stack, volume.id).exists()
    with pytest.raises(SandboxNotFound, match="no volume"):
        Sandbox.create(template="debian-12", volume=volume.id)
    with Sandbox.create(template="debian-12", volume="again") as sandbox:
        assert sandbox.exec("ls -A /persist").stdout == ""


def test_one_past_its_time_is_deleted_once_nobody_has_it_and_webhooks_hear_of_it(
    sandbox_client: OrkestrClient, account: Cast, stack: Stack
) -> None:
    row = {"account": account.account, "actor": {"type": "system"}, "salt": new_salt()}
    Webhook.objects.create(**row, url="http://203.0.113.9/hook", event_types=["volume.expired"])
    sandbox = Sandbox.create(template="debian-12", volume="brief")
    other = Volume.create("other")
    past = datetime.now(UTC) - timedelta(minutes=1)
    Row.objects.filter(account=account.account).update(expires_at=past)
    until(lambda: [one.name for one in Volume.list()] == ["brief"], what="the free one goes")
    assert sandbox.exec("echo still > /persist/file").exit_code == 0
    disk = disk_of(stack, only().id)
    sandbox.terminate()
    until(lambda: Volume.list() == [], what="the other one goes")
    until(lambda: not disk.exists(), what="and so does its disk")
    deliveries = Delivery.objects.filter(webhook__account=account.account)
    expired = [one for one in deliveries if one.subject == other.id]
    assert len(expired) == 1
    assert len(deliveries) == 2


def test_a_disk_that_could_not_be_removed_is_removed_later(
    sandbox_client: OrkestrClient, stack: Stack
) -> None:
    with Sandbox.create(template="debian-12", volume="late"):
        pass
    volume = only()
    Row.objects.filter(id=volume.id).update(deleted_at=datetime.now(UTC))
    until(lambda: not disk_of(stack, volume.id).exists(), what="the reaper removes it")
    dropped = Row.objects.filter(id=volume.id, dropped_at__isnull=False)
    until(dropped.exists, what="which is noted")


def test_it_can_be_moved_where_there_is_a_region(
    sandbox_client: OrkestrClient, account: Cast
) -> None:
    row = {"account": account.account, "actor": {"type": "system"}, "salt": new_salt()}
    Webhook.objects.create(**row, url="http://203.0.113.9/hook", event_types=["volume.moved"])
    volume = Volume.create("moving")
    assert volume.region is None
    for _ in range(2):
        assert Volume.move(volume.id, "local").region == "local"
    with pytest.raises(APIError, match="no such region"):
        Volume.move(volume.id, "elsewhere")
    assert Delivery.objects.filter(webhook__account=account.account).count() == 1


def test_a_snapshot_has_the_files_without_the_volume(
    sandbox_client: OrkestrClient, http: httpx.Client
) -> None:
    source = Sandbox.create(template="debian-12", volume="data")
    source.exec("echo own > /workspace/file; echo volume > /persist/file")
    snapshot = source.snapshot()
    bare = Sandbox.create(snapshot=snapshot.id)
    assert bare.volume is None
    assert bare.exec("cat /workspace/file; ls -A /persist").stdout == "own\n"
    body = {"snapshot": snapshot.id, "volume": "data"}
    assert http.post("/v1/sandboxes", json=body).json()["code"] == "volume_in_use"
    source.terminate()
    fork = Sandbox.get(http.post("/v1/sandboxes", json=body).json()["id"])
    assert fork.exec("cat /workspace/file /persist/file").stdout == "own\nvolume\n"


def test_the_plan_says_how_many_and_how_large(sandbox_client: OrkestrClient, account: Cast) -> None:
    on_plan(account, max_volumes=2, max_volume_mb=512)
    with pytest.raises(PlanLimitError, match=r"at most 0\.5 GB"):
        Volume.create("large", size_gb=1)
    assert Volume.create("first", size_gb=0.5).size_mb == 512
    Sandbox.create(template="debian-12", volume="second")
    assert [one.size_mb for one in Volume.list()] == [512, 512]
    with pytest.raises(PlanLimitError, match="at most 2 volumes"):
        Sandbox.create(template="debian-12", volume="third")
    with pytest.raises(PlanLimitError, match="at most 2 volumes"):
        Volume.create("third", size_gb=0.25)


def test_a_foreign_one_is_answered_like_an_absent_one(
    stack: Stack, sandbox_client: OrkestrClient, other_account: Cast
) -> None:
    volume = Volume.create("mine")
    headers = {"Authorization": f"Bearer {other_account.mint().text}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=60) as other:
        for found in (volume.id, UNKNOWN):
            address = f"/v1/sandboxes/volumes/{found}"
            assert other.delete(address).status_code == 404
            assert other.patch(address, json={"max_lifetime_days": 1}).status_code == 404
            assert other.post(f"{address}/move", json={"region": "local"}).status_code == 404
            body = {"template": "debian-12", "volume": found}
            assert other.post("/v1/sandboxes", json=body).status_code == 404
        assert other.get("/v1/sandboxes/volumes").json() == {"volumes": [], "total": 0}
        own = other.post("/v1/sandboxes/volumes", json={"name": "mine"})
        assert (own.status_code, own.json()["attached_sandbox_id"]) == (201, None)
    assert only().expires_at is None


BAD_VOLUMES = {
    "an empty name": {"name": ""},
    "a path": {"name": "../x"},
    "a long name": {"name": "x" * 65},
    "a NUL": {"name": "a\x00"},
    "an id as a name": {"name": UNKNOWN},
    "a size of nothing": {"name": "x", "size_gb": 0.1},
    "a negative size": {"name": "x", "size_gb": -1},
    "a size that is text": {"name": "x", "size_gb": "10"},
    "a region": {"name": "x", "region": "mars"},
    "no days": {"name": "x", "max_lifetime_days": 0},
    "too many days": {"name": "x", "max_lifetime_days": 3651},
    "too many hours": {"name": "x", "max_lifetime_hours": 25},
    "days and hours": {"name": "x", "max_lifetime_days": 1, "max_lifetime_hours": 1},
    "a field that is none": {"name": "x", "size": 1},
}


@pytest.mark.parametrize("what", BAD_VOLUMES)
def test_what_cannot_be_made_is_told_in_a_sentence(http: httpx.Client, what: str) -> None:
    answer = http.post("/v1/sandboxes/volumes", json=BAD_VOLUMES[what])
    assert answer.status_code == 422
    assert answer.json()["detail"].endswith(".")
    assert http.get("/v1/sandboxes/volumes").json()["total"] == 0


@pytest.mark.parametrize("name", ["", "../x", "a b", "vol_x", "x" * 65, "a\x00b", "\u202e"])
def test_a_sandbox_cannot_name_what_cannot_be_made(http: httpx.Client, name: str) -> None:
    answer = http.post("/v1/sandboxes", json={"template": "debian-12", "volume": name})
    assert answer.status_code == 422
    assert "volume's name" in answer.json()["detail"]


@pytest.mark.parametrize("body", [{}, {"max_lifetime_days": 1, "max_lifetime_hours": None}])
def test_an_update_is_of_one_thing(http: httpx.Client, body: dict[str, object]) -> None:
    made = http.post("/v1/sandboxes/volumes", json={"name": "x", "max_lifetime_days": 2}).json()
    answer = http.patch(f"/v1/sandboxes/volumes/{made['id']}", json=body)
    assert (answer.status_code, "one of the two" in answer.json()["detail"]) == (422, True)
    assert http.get("/v1/sandboxes/volumes").json()["volumes"] == [made]


def test_a_lifetime_that_is_over_already_deletes_nothing(http: httpx.Client) -> None:
    made = http.post("/v1/sandboxes/volumes", json={"name": "x", "max_lifetime_days": 2}).json()
    created = datetime.now(UTC) - timedelta(hours=2)
    Row.objects.filter(id=made["id"]).update(created_at=created)
    before = http.get("/v1/sandboxes/volumes").json()
    answer = http.patch(f"/v1/sandboxes/volumes/{made['id']}", json={"max_lifetime_hours": 2})
    assert answer.status_code == 422
    assert "past already for x" in answer.json()["detail"]
    assert http.get("/v1/sandboxes/volumes").json() == before
    answer = http.patch(f"/v1/sandboxes/volumes/{made['id']}", json={"max_lifetime_hours": 3})
    assert answer.status_code == 200


def test_a_name_that_is_taken_says_so(http: httpx.Client) -> None:
    assert http.post("/v1/sandboxes/volumes", json={"name": "x"}).status_code == 201
    answer = http.post("/v1/sandboxes/volumes", json={"name": "x"})
    assert answer.status_code == 409
    assert "another name" in answer.json()["detail"]


def test_a_disk_without_a_row_is_left_to_an_operator(
    stack: Stack, sandbox_client: OrkestrClient, capsys: pytest.CaptureFixture[str]
) -> None:
    with Sandbox.create(template="debian-12", volume="owned"):
        pass
    volume_id, stray = only().id, new_volume_id()
    disk_of(stack, stray).touch()
    with pytest.raises(CommandError, match=volume_id):
        call_command("volumes", "--remove", stray, volume_id)
    call_command("volumes")
    assert capsys.readouterr().out.split() == [stray]
    call_command("volumes", "--remove", stray)
    assert capsys.readouterr().out == ""
    assert not disk_of(stack, stray).exists()
    assert disk_of(stack, volume_id).exists()
