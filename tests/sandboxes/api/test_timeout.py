"""POST /v1/sandboxes/{id}/timeout, and the end of the clock."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import httpx
import pytest
from orkestr import Sandbox, SandboxNotReady

from sandboxes.models import Sandbox as Row
from tests.waiting import until
from timeline.selectors import events_after


def test_the_clock_restarts_from_now(sandbox: Sandbox) -> None:
    before = datetime.now(UTC)
    sandbox.set_timeout(1200)
    asked = timedelta(seconds=1200)
    assert before + asked <= sandbox.expires_at <= datetime.now(UTC) + asked
    assert Sandbox.get(sandbox.id).expires_at == sandbox.expires_at


def test_it_can_be_made_shorter(sandbox: Sandbox) -> None:
    before = sandbox.expires_at
    sandbox.set_timeout(10)
    assert sandbox.expires_at < before


def test_the_change_is_on_the_timeline_with_who_made_it(sandbox: Sandbox) -> None:
    sandbox.set_timeout(1200)
    kinds = ["sandbox.timeout_changed"]
    (event,) = events_after(sandbox_id=sandbox.id, kinds=kinds)
    assert event.data["timeout_seconds"] == 1200
    assert (event.actor.type, event.actor.name) == ("token", "test")


@pytest.mark.parametrize(
    "body", [{}, {"timeout_seconds": 9}, {"timeout_seconds": 3601}, {"timeout_seconds": "60"}, []]
)
def test_what_makes_no_sense_is_told_in_a_sentence(
    http: httpx.Client, sandbox: Sandbox, body: object
) -> None:
    answer = http.post(f"/v1/sandboxes/{sandbox.id}/timeout", json=body)
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str)


def test_a_sandbox_whose_time_is_up_ends_by_itself(sandbox: Sandbox) -> None:
    past = datetime.now(UTC) - timedelta(seconds=1)
    Row.objects.filter(id=sandbox.id).update(expires_at=past)
    until(lambda: sandbox.refresh().status == "terminated", what="it ends")
    assert Row.objects.get(id=sandbox.id).reason == "expired"
    with pytest.raises(SandboxNotReady, match="timeout ran out"):
        sandbox.exec("true")

    def ends() -> list[object]:
        events = events_after(sandbox_id=sandbox.id, kinds=["sandbox.terminated"])
        return [event.data for event in events]

    until(lambda: bool(ends()), what="the end is stored")
    assert ends() == [{"reason": "expired"}]
