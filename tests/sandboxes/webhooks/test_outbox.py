"""Which changes of a sandbox are told, and that they are told exactly when they come about."""

from __future__ import annotations

from unittest import mock

import orjson
import pytest
from celery import current_app
from django.db import transaction
from pytest_django import DjangoAssertNumQueries
from redis.exceptions import RedisError

from sandboxes.host.types import HostError
from sandboxes.limits import SandboxRequest
from sandboxes.models import Sandbox, Status
from sandboxes.reserving import sandbox_reserve
from sandboxes.services import (
    sandbox_ended,
    sandbox_fail,
    sandbox_refused,
    sandbox_running,
)
from sandboxes.webhooks import outbox
from sandboxes.webhooks.models import Delivery, Webhook
from sandboxes.webhooks.signing import new_salt
from tests.cast import Cast

pytestmark = pytest.mark.django_db


@pytest.fixture(autouse=True)
def _hook(account: Cast) -> None:
    Webhook.objects.create(
        account=account.account,
        actor={"type": "system"},
        url="http://203.0.113.9/hook",
        salt=new_salt(),
    )


def reserved(cast: Cast) -> str:
    request = SandboxRequest("debian-12", env={"KEY": "s3cret"})
    return sandbox_reserve(principal=cast.principal(), request=request)[0].id


def running(cast: Cast) -> str:
    sandbox_id = reserved(cast)
    assert sandbox_running(sandbox_id=sandbox_id) is not None
    return sandbox_id


def told() -> list[str]:
    return list(Delivery.objects.order_by("id").values_list("event_type", flat=True))


@pytest.mark.parametrize(
    ("status", "reason", "kind"),
    [
        (Status.TERMINATED, "requested", "sandbox.terminated"),
        (Status.TERMINATED, "shutdown", "sandbox.terminated"),
        (Status.TERMINATED, "expired", "sandbox.expired"),
        (Status.TERMINATED, "paused_expired", "sandbox.expired"),
        (Status.TERMINATED, "usage_exhausted", "sandbox.terminated"),
        (Status.FAILED, "host_lost", "sandbox.terminated"),
    ],
)
def test_an_end_is_told_once(account: Cast, status: str, reason: str, kind: str) -> None:
    sandbox_id = running(account)
    assert sandbox_ended(sandbox_id=sandbox_id, status=status, reason=reason)
    assert not sandbox_ended(sandbox_id=sandbox_id, status=status, reason=reason)
    assert told() == ["sandbox.created", kind]
    last = orjson.loads(Delivery.objects.order_by("id").reverse()[0].body)
    assert last["data"]["sandbox_id"] == last["data"]["sandbox"]["id"] == sandbox_id
    assert last["data"]["sandbox"]["status"] == status
    assert last["data"]["sandbox"]["reason"] == reason


def test_a_body_holds_no_secret_of_the_sandbox(account: Cast) -> None:
    running(account)
    body = Delivery.objects.get().body
    assert "s3cret" not in body
    assert "preview_auth_token" not in body


def test_one_that_never_ran_is_nobodys_news(account: Cast) -> None:
    reserved(account)
    sandbox_refused(sandbox_id=reserved(account), error=HostError("internal", "It broke."))
    sandbox_fail(sandbox_id=reserved(account), reason="start_interrupted", detail="It broke.")
    sandbox_ended(sandbox_id=reserved(account), status=Status.TERMINATED, reason="requested")
    assert told() == []


@pytest.mark.parametrize(
    ("was", "now", "kinds"),
    [
        (Status.RUNNING, Status.PAUSING, []),
        (Status.PAUSING, Status.PAUSED, ["sandbox.paused"]),
        (Status.RUNNING, Status.PAUSED, ["sandbox.paused"]),
        (Status.PAUSING, Status.RUNNING, []),
        (Status.PAUSED, Status.RESUMING, []),
        (Status.RESUMING, Status.PAUSED, []),
        (Status.RESUMING, Status.RUNNING, ["sandbox.resumed"]),
        (Status.PAUSED, Status.RUNNING, ["sandbox.resumed"]),
        (Status.PAUSED, Status.PAUSED, []),
    ],
)
def test_pausing_and_resuming_are_told_when_they_are_done(
    account: Cast, was: str, now: str, kinds: list[str]
) -> None:
    sandbox = Sandbox.objects.get(id=running(account))
    Delivery.objects.all().delete()
    sandbox.status = now
    outbox.sandbox_changed(sandbox, was=was)
    assert told() == kinds


def test_a_change_nobody_wants_to_hear_of_costs_one_look(
    account: Cast, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    sandbox = Sandbox.objects.get(id=running(account))
    Webhook.objects.update(event_types=["volume.moved"])
    sandbox.status = Status.PAUSED
    with django_assert_num_queries(1):
        outbox.sandbox_changed(sandbox, was=Status.RUNNING)


def test_a_change_that_is_undone_is_not_told(account: Cast) -> None:
    sandbox_id = running(account)
    Delivery.objects.all().delete()
    with pytest.raises(RuntimeError), transaction.atomic():
        sandbox_ended(sandbox_id=sandbox_id, status=Status.TERMINATED, reason="requested")
        raise RuntimeError
    assert told() == []


def test_a_broker_that_is_away_does_not_stand_in_the_way() -> None:
    with mock.patch.object(outbox, "client", side_effect=RedisError("away")):
        outbox.wake()
        outbox.awake()


def test_many_calls_are_one_message(redis_url: str) -> None:
    outbox.awake()
    with mock.patch.object(current_app, "send_task") as sent:
        for _ in range(50):
            outbox.wake()
        assert sent.call_count == 1
        outbox.awake()
        outbox.wake()
        assert sent.call_count == 2
