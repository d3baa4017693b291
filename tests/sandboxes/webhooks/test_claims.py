"""What is claimed, by whom, and what an attempt does to the rows. No worker is involved."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import pytest
from django.db import connection
from django.utils import timezone

from sandboxes.alone import Duty, alone
from sandboxes.webhooks import claims
from sandboxes.webhooks.claims import anything_due, claim, finished, prune
from sandboxes.webhooks.kinds import EventType
from sandboxes.webhooks.models import Delivery, DeliveryStatus, Webhook
from sandboxes.webhooks.outbox import record
from sandboxes.webhooks.posting import Outcome
from sandboxes.webhooks.signing import new_salt, secret_of
from tests.cast import Cast

pytestmark = pytest.mark.django_db

TAKEN = Outcome(5, 204)
REFUSED = Outcome(5, 500, b"no", "The answer was 500.")


def hook(cast: Cast, *, types: list[str] | None = None) -> Webhook:
    return Webhook.objects.create(
        account=cast.account,
        actor={"type": "system"},
        url="http://203.0.113.9/hook",
        event_types=types,
        salt=new_salt(),
    )


def happen(cast: Cast, count: int = 1, kind: EventType = EventType.SANDBOX_CREATED) -> None:
    for number in range(count):
        record(
            account_id=cast.account.id,
            kind=kind,
            subject=f"sbx_{number}",
            data=lambda: {"sandbox_id": "sbx_"},
        )


def pass_the_time(**span: float) -> None:
    """As if what is pending had been written that much earlier."""
    for row in Delivery.objects.filter(status=DeliveryStatus.PENDING):
        row.due_at -= timedelta(**span)
        if row.claimed_until is not None:
            row.claimed_until -= timedelta(**span)
        row.save()


def test_what_is_claimed_can_be_sent_and_signed(account: Cast) -> None:
    one = hook(account)
    happen(account)
    assert anything_due()
    (claimed,) = claim(room=10, each=10)
    row = Delivery.objects.get()
    assert (claimed.id, claimed.attempt, claimed.url) == (row.id, 1, one.url)
    assert claimed.body == row.body.encode()
    assert claimed.secret == secret_of(webhook_id=one.id, salt=one.salt)


def test_the_database_does_not_hold_the_secret(account: Cast) -> None:
    one = hook(account)
    secret = secret_of(webhook_id=one.id, salt=one.salt)
    row = Webhook.objects.values().get()
    assert not any(secret in str(value) or str(value) in secret for value in row.values() if value)


def test_nobody_claims_what_is_claimed(account: Cast) -> None:
    hook(account)
    happen(account, 5)
    first = claim(room=3, each=10)
    second = claim(room=10, each=10)
    assert (len(first), len(second)) == (3, 2)
    assert not {one.id for one in first} & {one.id for one in second}
    assert not anything_due()
    assert claim(room=10, each=10) == []


def test_a_claim_of_somebody_who_died_runs_out(account: Cast) -> None:
    hook(account)
    happen(account)
    (first,) = claim(room=10, each=10)
    pass_the_time(minutes=1)
    assert anything_due()
    (second,) = claim(room=10, each=10)
    assert (second.id, second.attempt) == (first.id, 1)


def test_one_webhook_gets_its_share_and_no_more(account: Cast, other_account: Cast) -> None:
    busy, quiet = hook(account), hook(other_account)
    happen(account, 50)
    happen(other_account, 2)
    claimed = claim(room=20, each=8)
    assert [one.webhook_id for one in claimed].count(busy.id) == 8
    assert [one.webhook_id for one in claimed].count(quiet.id) == 2
    assert claim(room=20, each=8) == []
    finished({claimed[0].id: TAKEN})
    assert len(claim(room=20, each=8)) == 1


def test_the_oldest_go_first(account: Cast) -> None:
    hook(account)
    happen(account, 4)
    expected = list(Delivery.objects.order_by("due_at").values_list("id", flat=True))[:2]
    assert sorted(one.id for one in claim(room=2, each=8)) == sorted(expected)


def test_a_delivery_that_was_taken_is_over(account: Cast) -> None:
    one = hook(account)
    Webhook.objects.update(consecutive_failures=7, last_error="The answer was 500.")
    happen(account)
    (claimed,) = claim(room=1, each=1)
    finished({claimed.id: TAKEN})
    row = Delivery.objects.get()
    assert (row.status, row.attempts, row.response_status) == ("delivered", 1, 204)
    assert row.ended_at is not None
    assert row.claimed_until is None
    one.refresh_from_db()
    assert (one.consecutive_failures, one.last_error) == (0, None)
    assert one.last_delivery_at == row.ended_at


def test_a_refused_one_comes_again_ten_seconds_later_three_times(account: Cast) -> None:
    one = hook(account)
    happen(account)
    for attempt in range(1, 5):
        (claimed,) = claim(room=1, each=1)
        assert claimed.attempt == attempt
        before = timezone.now()
        finished({claimed.id: REFUSED})
        row = Delivery.objects.get()
        if attempt < 4:
            assert row.status == DeliveryStatus.PENDING
            assert row.due_at - before >= timedelta(seconds=10)
            assert not anything_due()
            pass_the_time(seconds=11)
    assert (row.status, row.attempts, row.error) == ("failed", 4, "The answer was 500.")
    one.refresh_from_db()
    assert (one.active, one.consecutive_failures) == (True, 1)


@pytest.fixture
def at_the_brink(account: Cast) -> Iterator[Webhook]:
    """Nineteen were given up, and the next attempt of each is its last."""
    one = hook(account)
    Webhook.objects.update(consecutive_failures=19)
    happen(account, 3)
    Delivery.objects.update(attempts=claims.ATTEMPTS - 1)
    yield one


def test_the_twentieth_switches_it_off_and_ends_what_waits(at_the_brink: Webhook) -> None:
    first, second = claim(room=2, each=2)
    finished({first.id: REFUSED})
    at_the_brink.refresh_from_db()
    assert (at_the_brink.active, at_the_brink.consecutive_failures) == (False, 20)
    states = Delivery.objects.in_bulk()
    under_way = states.pop(second.id)
    assert under_way.status == DeliveryStatus.PENDING
    assert {row.status for row in states.values()} == {DeliveryStatus.FAILED}
    assert sum("switched off" in row.error for row in states.values()) == 1
    finished({second.id: REFUSED})
    assert not Delivery.objects.filter(status=DeliveryStatus.PENDING).exists()


def test_one_that_is_taken_keeps_it_on(at_the_brink: Webhook) -> None:
    first, second = claim(room=2, each=2)
    finished({first.id: TAKEN})
    finished({second.id: REFUSED})
    at_the_brink.refresh_from_db()
    assert (at_the_brink.active, at_the_brink.consecutive_failures) == (True, 1)


def test_many_are_written_down_at_once(account: Cast, other_account: Cast) -> None:
    good, bad = hook(account), hook(other_account)
    happen(account, 3)
    happen(other_account, 3)
    Delivery.objects.update(attempts=claims.ATTEMPTS - 1)
    odd = Outcome(5, error="The answer was not HTTP: \x00.")
    claimed = claim(room=10, each=10)
    finished({one.id: TAKEN if one.webhook_id == good.id else odd for one in claimed})
    rows = Delivery.objects.values_list("webhook_id", "status", "error")
    assert set(rows) == {
        (good.id, "delivered", ""),
        (bad.id, "failed", "The answer was not HTTP: \u2400."),
    }
    bad.refresh_from_db()
    assert bad.consecutive_failures == 3


def test_a_webhook_that_is_off_is_told_nothing(account: Cast) -> None:
    hook(account)
    Webhook.objects.update(active=False)
    happen(account)
    assert not Delivery.objects.exists()


def test_a_webhook_that_was_deleted_meanwhile_is_no_trouble(account: Cast) -> None:
    one = hook(account)
    happen(account)
    (claimed,) = claim(room=1, each=1)
    one.delete()
    finished({claimed.id: TAKEN})
    assert not Delivery.objects.exists()


def test_each_webhook_hears_what_it_chose(account: Cast, other_account: Cast) -> None:
    everything = hook(account)
    some = hook(account, types=["sandbox.created", "volume.moved"])
    hook(account, types=["sandbox.paused"])
    hook(other_account)
    happen(account)
    told = Delivery.objects.values_list("webhook_id", flat=True)
    assert set(told) == {everything.id, some.id}
    assert len(set(Delivery.objects.values_list("event_id", "body"))) == 1
    assert len(set(Delivery.objects.values_list("id"))) == 2


def test_only_one_process_sends() -> None:
    found: list[bool] = []

    def try_it() -> None:
        try:
            with alone(Duty.SENDING) as mine:
                found.append(mine)
        finally:
            connection.close()

    for _ in range(2):
        with alone(Duty.SENDING) as mine:
            assert mine
            other = threading.Thread(target=try_it)
            other.start()
            other.join(30)
        assert found.pop() is False
    other = threading.Thread(target=try_it)
    other.start()
    other.join(30)
    assert found == [True]


def test_deliveries_are_forgotten_after_a_month(account: Cast) -> None:
    hook(account)
    happen(account, 3)
    old, young, pending = Delivery.objects.order_by("id")
    Delivery.objects.filter(id=old.id).update(ended_at=timezone.now() - timedelta(days=31))
    Delivery.objects.filter(id=young.id).update(ended_at=timezone.now() - timedelta(days=29))
    assert prune() == 1
    assert set(Delivery.objects.values_list("id", flat=True)) == {young.id, pending.id}
