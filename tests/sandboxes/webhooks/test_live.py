"""Webhooks on the whole platform, through the official client, received by a real server."""

from __future__ import annotations

import threading
from copy import copy
from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection, transaction
from orkestr import Sandbox, Webhook, verify_webhook_signature
from orkestr._client import OrkestrClient

from sandboxes.limits import SandboxRequest
from sandboxes.models import Sandbox as Row
from sandboxes.models import new_sandbox_id
from sandboxes.reserving import sandbox_reserve
from sandboxes.services import sandbox_ended, sandbox_running
from sandboxes.webhooks.models import Delivery, DeliveryStatus
from sandboxes.webhooks.services import delivery_replay, webhook_rotate
from tests.cast import Cast
from tests.sandboxes.webhooks.receiver import Answer, Received, Receiver
from tests.stack import Stack
from tests.waiting import until


def test_a_life_is_told_and_signed(sandbox_client: OrkestrClient, receiver: Receiver) -> None:
    hook = Webhook.create(receiver.url)
    sandbox = Sandbox.create(template="debian-12", metadata={"run": "7"})
    sandbox.terminate()
    until(lambda: len(receiver.of(sandbox.id)) == 2, what="both are told")
    told = {one.payload["type"]: one for one in receiver.of(sandbox.id)}
    assert set(told) == {"sandbox.created", "sandbox.terminated"}
    for kind, one in told.items():
        signature = one.headers["x-orkestr-signature"]
        assert hook.secret is not None
        assert verify_webhook_signature(hook.secret, one.body, signature)
        assert not verify_webhook_signature(hook.secret, one.body + b" ", signature)
        assert one.headers["x-orkestr-event"] == one.payload["event"] == kind
        assert one.headers["content-type"] == "application/json"
        assert one.delivery.startswith("whd_")
        assert one.payload["id"].startswith("evt_")
        assert datetime.fromisoformat(one.payload["created_at"]).tzinfo is not None
    shown = told["sandbox.created"].payload["data"]["sandbox"]
    assert (shown["status"], shown["metadata"]) == ("running", {"run": "7"})
    ended = told["sandbox.terminated"].payload["data"]["sandbox"]
    assert (ended["status"], ended["reason"]) == ("terminated", "requested")


def test_a_delivery_is_written_down(sandbox_client: OrkestrClient, receiver: Receiver) -> None:
    receiver.answer = lambda _: Answer(200, b"thanks\x00" + b"x" * 5000)
    hook = Webhook.create(receiver.url, event_types=["sandbox.created"])
    sandbox = Sandbox.create(template="debian-12")
    rows = Delivery.objects.filter(webhook_id=hook.id, status=DeliveryStatus.DELIVERED)
    until(rows.exists, what="it is delivered")
    (row,) = rows
    assert (row.attempts, row.response_status, row.subject) == (1, 200, sandbox.id)
    assert row.response_body == "thanks\u2400" + "x" * 1017
    assert row.duration_ms is not None
    assert row.error == ""
    (listed,) = Webhook.list()
    assert listed.last_delivery_at is not None
    assert (listed.consecutive_failures, listed.last_error) == (0, None)


def test_only_what_was_chosen_is_told(sandbox_client: OrkestrClient, receiver: Receiver) -> None:
    Webhook.create(receiver.url, event_types=["sandbox.terminated"])
    sandbox = Sandbox.create(template="debian-12")
    sandbox.terminate()
    until(lambda: bool(receiver.received), what="its end is told")
    assert Delivery.objects.filter(subject=sandbox.id).count() == 1
    assert receiver.types == ["sandbox.terminated"]


def test_what_runs_out_of_time_has_expired(
    sandbox_client: OrkestrClient, receiver: Receiver
) -> None:
    Webhook.create(receiver.url, event_types=["sandbox.expired", "sandbox.terminated"])
    sandbox = Sandbox.create(template="debian-12")
    Row.objects.filter(id=sandbox.id).update(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    until(lambda: bool(receiver.received), what="its end is told")
    assert receiver.types == ["sandbox.expired"]
    assert Delivery.objects.filter(subject=sandbox.id).count() == 1


def test_a_pause_and_its_end_are_told(sandbox_client: OrkestrClient, receiver: Receiver) -> None:
    Webhook.create(receiver.url, event_types=["sandbox.paused", "sandbox.resumed"])
    sandbox = Sandbox.create(template="debian-12")
    sandbox.pause()
    until(lambda: receiver.types == ["sandbox.paused"], what="the pause is told")
    Sandbox.resume(sandbox.id)
    until(lambda: len(receiver.received) == 2, what="its end is told")
    assert receiver.types == ["sandbox.paused", "sandbox.resumed"]
    states = [one.payload["data"]["sandbox"]["status"] for one in receiver.received]
    assert states == ["paused", "running"]


def test_nobody_hears_of_a_foreign_sandbox(
    sandbox_client: OrkestrClient, other_account: Cast, receiver: Receiver, stack: Stack
) -> None:
    mine = Webhook.create(receiver.url)
    with OrkestrClient(api_key=other_account.mint().text, base_url=stack.url) as other:
        sandbox = Sandbox.create(template="debian-12", client=other)
        sandbox.terminate()
    assert not Delivery.objects.filter(webhook_id=mine.id).exists()
    assert receiver.received == []


def test_it_is_tried_three_times_more_under_one_id(
    sandbox_client: OrkestrClient, receiver: Receiver
) -> None:
    receiver.answer = lambda _: Answer(500, b"not now")
    hook = Webhook.create(receiver.url, event_types=["sandbox.created"])
    Sandbox.create(template="debian-12")
    until(lambda: _row(hook.id).status == DeliveryStatus.FAILED, what="it is given up")
    assert len(receiver.received) == 4
    assert len({one.delivery for one in receiver.received}) == 1
    assert len({one.body for one in receiver.received}) == 1
    assert [one.headers["x-orkestr-attempt"] for one in receiver.received] == ["1", "2", "3", "4"]
    row = _row(hook.id)
    assert (row.attempts, row.response_status, row.response_body) == (4, 500, "not now")
    (listed,) = Webhook.list()
    assert (listed.active, listed.consecutive_failures) == (True, 1)
    assert listed.last_error == "The answer was 500."


def test_it_is_delivered_when_the_receiver_is_back(
    sandbox_client: OrkestrClient, receiver: Receiver
) -> None:
    receiver.answer = lambda _: Answer(503 if len(receiver.received) < 3 else 200)
    hook = Webhook.create(receiver.url, event_types=["sandbox.created"])
    Sandbox.create(template="debian-12")
    until(lambda: _row(hook.id).status == DeliveryStatus.DELIVERED, what="the third is taken")
    assert len(receiver.received) == 3
    assert Webhook.list()[0].consecutive_failures == 0


def test_after_twenty_given_up_it_is_switched_off_until_it_is_enabled(
    sandbox_client: OrkestrClient, account: Cast, receiver: Receiver
) -> None:
    receiver.answer = lambda _: Answer(500)
    hook = Webhook.create(receiver.url, event_types=["sandbox.terminated"])
    for _ in range(20):
        _end_one(account)
    until(lambda: not Webhook.list()[0].active, seconds=60, what="it is switched off")
    off = Webhook.list()[0]
    assert (off.consecutive_failures, off.last_error) == (20, "The answer was 500.")
    assert len(receiver.received) == 80
    _end_one(account)
    assert Delivery.objects.filter(webhook_id=hook.id).count() == 20
    receiver.answer = lambda _: Answer()
    on = Webhook.enable(hook.id)
    assert (on.active, on.consecutive_failures, on.last_error) == (True, 0, None)
    _end_one(account)
    until(lambda: len(receiver.received) == 81, what="it is told again")


def test_a_redirect_is_not_followed(sandbox_client: OrkestrClient, receiver: Receiver) -> None:
    with Receiver() as elsewhere:
        receiver.answer = lambda _: Answer(307, headers={"Location": elsewhere.url})
        hook = Webhook.create(receiver.url, event_types=["sandbox.created"])
        Sandbox.create(template="debian-12")
        until(lambda: _row(hook.id).status == DeliveryStatus.FAILED, what="it is given up")
        assert elsewhere.received == []
    assert "redirects are not followed" in _row(hook.id).error


def test_a_killed_worker_leaves_nothing_undelivered(
    stack: Stack, sandbox_client: OrkestrClient, receiver: Receiver
) -> None:
    held = threading.Event()

    def hold_the_first(_: Received) -> Answer:
        if len(receiver.received) == 1:
            held.wait(30)
        return Answer()

    receiver.answer = hold_the_first
    hook = Webhook.create(receiver.url, event_types=["sandbox.created"])
    Sandbox.create(template="debian-12")
    until(lambda: bool(receiver.received), what="the first attempt is under way")
    stack.kill("worker")
    held.set()
    assert _row(hook.id).status == DeliveryStatus.PENDING
    stack.start("worker")
    until(lambda: _row(hook.id).status == DeliveryStatus.DELIVERED, what="it is sent again")
    first, second = receiver.received
    assert first.delivery == second.delivery
    assert first.body == second.body
    assert _row(hook.id).attempts == 1


def test_it_is_sent_on_commit_and_not_only_by_the_clock(
    stack: Stack, sandbox_client: OrkestrClient, receiver: Receiver
) -> None:
    stack.stop("beat")
    Webhook.create(receiver.url)
    sandbox = Sandbox.create(template="debian-12")
    until(lambda: receiver.types == ["sandbox.created"], what="the beginning is told")
    sandbox.terminate()
    until(lambda: len(receiver.received) == 2, what="the end is told")


def test_what_was_committed_while_the_broker_was_away_is_swept_up(
    stack: Stack, sandbox_client: OrkestrClient, account: Cast, receiver: Receiver
) -> None:
    hook = Webhook.create(receiver.url, event_types=["sandbox.terminated"])
    stack.kill("valkey")
    _end_one(account)
    stack.start("valkey")
    until(lambda: bool(receiver.received), seconds=60, what="it is sent all the same")
    assert _row(hook.id).subject == receiver.received[0].payload["data"]["sandbox_id"]


@pytest.mark.timeout(300)
def test_a_thousand_ends_at_once_are_all_told_while_sandboxes_come_and_go(
    stack: Stack, sandbox_client: OrkestrClient, account: Cast, receiver: Receiver
) -> None:
    hook = Webhook.create(receiver.url, event_types=["sandbox.terminated", "sandbox.expired"])
    rows = _running_rows(account, 1000)
    for row in rows:
        sandbox_ended(sandbox_id=row, status="terminated", reason="requested")
    other = Sandbox.create(template="debian-12")
    Row.objects.filter(id=other.id).update(expires_at=datetime.now(UTC) - timedelta(seconds=1))
    until(lambda: other.refresh().status == "terminated", what="the reaper goes its rounds")
    delivered = Delivery.objects.filter(webhook_id=hook.id, status=DeliveryStatus.DELIVERED)
    until(lambda: delivered.count() == 1001, seconds=200, what="all are told")
    assert {one.payload["data"]["sandbox_id"] for one in receiver.received} == {*rows, other.id}
    assert len({one.delivery for one in receiver.received}) == 1001
    assert receiver.most_at_once <= 8


def test_a_receiver_that_never_answers_does_not_hold_up_another(
    sandbox_client: OrkestrClient, account: Cast, receiver: Receiver
) -> None:
    stuck = threading.Event()
    with Receiver() as hanging:
        hanging.answer = lambda _: Answer() if stuck.wait(60) else Answer(500)
        Webhook.create(hanging.url, event_types=["sandbox.terminated"])
        Webhook.create(receiver.url, event_types=["sandbox.terminated"])
        ended = [_end_one(account) for _ in range(40)]
        try:
            until(lambda: len(receiver.received) >= 40, what="the other has them all")
            assert len(hanging.received) < 40
        finally:
            stuck.set()
        assert {one.payload["data"]["sandbox_id"] for one in receiver.received} == set(ended)


def test_a_delivery_can_be_replayed(
    sandbox_client: OrkestrClient, account: Cast, receiver: Receiver
) -> None:
    hook = Webhook.create(receiver.url, event_types=["sandbox.created"])
    Sandbox.create(template="debian-12")
    until(lambda: _row(hook.id).status == DeliveryStatus.DELIVERED, what="it is delivered")
    again = delivery_replay(principal=account.principal(), delivery_id=_row(hook.id).id)
    until(lambda: len(receiver.received) == 2, what="it is sent once more")
    first, second = receiver.received
    assert second.delivery == again.id != first.delivery
    assert second.body == first.body
    assert again.replay_of == first.delivery


def test_a_new_secret_signs_from_then_on(
    sandbox_client: OrkestrClient, account: Cast, receiver: Receiver
) -> None:
    first = Webhook.create(receiver.url)
    second = webhook_rotate(principal=account.principal(), webhook_id=first.id)
    assert first.secret is not None
    assert first.secret != second.secret
    _end_one(account)
    until(lambda: len(receiver.received) == 2, what="both are told")
    for one in receiver.received:
        signature = one.headers["x-orkestr-signature"]
        assert verify_webhook_signature(second.secret, one.body, signature)
        assert not verify_webhook_signature(first.secret, one.body, signature)


def test_one_that_is_deleted_meanwhile_does_not_undo_what_happened(
    sandbox_client: OrkestrClient, account: Cast, receiver: Receiver
) -> None:
    hook = Webhook.create(receiver.url, event_types=["sandbox.terminated"])
    sandbox_id = _running_row(account)
    deleting = threading.Thread(target=Webhook.delete, args=(hook.id,))
    with transaction.atomic():
        assert sandbox_ended(sandbox_id=sandbox_id, status="terminated", reason="requested")
        deleting.start()
        until(_somebody_waits_for_this, what="the deletion waits")
    deleting.join(30)
    assert Webhook.list() == []
    assert not Delivery.objects.filter(subject=sandbox_id).exists()
    assert Row.objects.get(id=sandbox_id).status == "terminated"


def _somebody_waits_for_this() -> bool:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_locks"
            " WHERE NOT granted AND pg_backend_pid() = ANY(pg_blocking_pids(pid))"
        )
        return bool(cursor.fetchone()[0])


def _row(webhook_id: str) -> Delivery:
    return Delivery.objects.get(webhook_id=webhook_id)


def _running_row(cast: Cast) -> str:
    """A sandbox as far as the database knows; the reaper does not see it live long enough."""
    request = SandboxRequest("debian-12")
    row = sandbox_reserve(principal=cast.principal(), request=request)[0]
    assert sandbox_running(sandbox_id=row.id) is not None
    return row.id


def _running_rows(cast: Cast, count: int) -> list[str]:
    """More than any plan allows at once, and begun too late for the reaper to miss them."""
    first = Row.objects.get(id=_running_row(cast))
    later = datetime.now(UTC) + timedelta(hours=1)
    rows = [copy(first) for _ in range(count)]
    for row in rows:
        row.id, row.started_at = new_sandbox_id(), later
    Row.objects.bulk_create(rows)
    first.delete()
    return [row.id for row in rows]


def _end_one(cast: Cast) -> str:
    sandbox_id = _running_row(cast)
    assert sandbox_ended(sandbox_id=sandbox_id, status="terminated", reason="requested")
    return sandbox_id
