"""What a token does to a sandbox is on the audit record, with where it came from."""

from __future__ import annotations

import httpx
from orkestr import Sandbox

from accounts.models import AuditEntry
from tests.cast import Cast


def test_every_turn_of_a_sandbox_is_recorded_for_the_token_that_made_it(
    http: httpx.Client, account: Cast, sandbox: Sandbox
) -> None:
    http.headers["user-agent"] = "tests/1"
    path = f"/v1/sandboxes/{sandbox.id}"
    assert http.post(f"{path}/timeout", json={"timeout_seconds": 900}).status_code == 200
    snapshot = http.post(f"{path}/snapshots", json={"name": "kept"}).json()
    assert http.delete(f"/v1/sandboxes/snapshots/{snapshot['id']}").status_code == 204
    assert http.post(f"{path}/pause").status_code == 200
    assert http.post(f"{path}/resume").status_code == 200
    assert http.delete(path).status_code == 204
    assert http.delete(path).status_code == 204

    rows = AuditEntry.objects.filter(account=account.account, actor__type="token")
    told = list(rows.order_by("id"))
    assert [(one.action, one.target) for one in told] == [
        ("sandbox.created", sandbox.id),
        ("sandbox.timeout_changed", sandbox.id),
        ("snapshot.created", snapshot["id"]),
        ("snapshot.deleted", snapshot["id"]),
        ("sandbox.paused", sandbox.id),
        ("sandbox.resumed", sandbox.id),
        ("sandbox.terminated", sandbox.id),
    ]
    assert all(one.actor["name"] == "test" and one.address == "127.0.0.1" for one in told)
    assert {one.user_agent for one in told[1:]} == {"tests/1"}
    created, _, taken, _, paused, resumed, ended = told
    assert created.after["template"] == "debian-12"
    assert taken.after["sandbox"] == sandbox.id
    assert (paused.before["status"], paused.after["status"]) == ("running", "paused")
    assert (resumed.before["status"], resumed.after["status"]) == ("paused", "running")
    assert (ended.before["status"], ended.after["status"]) == ("running", "terminated")
