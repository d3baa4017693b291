"""Many creates in one transaction: each is refused or reserved as if it had come alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import Plan
from sandboxes.errors import PlanLimit, VolumeInUse
from sandboxes.limits import SandboxRequest
from sandboxes.models import Sandbox, Status
from sandboxes.reserving import Wish, sandboxes_reserve
from sandboxes.services import sandboxes_running
from tests.cast import Cast

pytestmark = pytest.mark.django_db


def wish(cast: Cast, **asked: str) -> Wish:
    return Wish(cast.principal(), SandboxRequest(template="debian-12", **asked))  # type: ignore[arg-type]


def on_plan(cast: Cast, **fields: object) -> Plan:
    plan = Plan.objects.get(name="enterprise")
    Plan.objects.filter(name=plan.name).update(**fields)
    cast.account.plan = plan
    cast.account.save()
    return plan


def test_they_end_at_the_cap_and_the_refused_take_no_place(account: Cast) -> None:
    on_plan(account, max_concurrent=3)
    wishes = [wish(account, network=name) for name in ("off", "off", "off", "off")]
    wishes.insert(1, wish(account, size="huge"))
    found = sandboxes_reserve(wishes)
    assert [isinstance(one, Exception) for one in found] == [False, True, False, False, True]
    assert isinstance(found[4], PlanLimit)
    assert found[4].reason == "concurrency"
    assert Sandbox.objects.filter(status=Status.STARTING).count() == 3


def test_a_volume_goes_to_the_first_who_asks(account: Cast) -> None:
    on_plan(account)
    found = sandboxes_reserve([wish(account, volume="data") for _ in range(2)] + [wish(account)])
    assert [type(one) for one in found] == [tuple, VolumeInUse, tuple]
    held = [row.volume_name for row in Sandbox.objects.order_by("id")]
    assert sorted(held) == ["", "data"]


def test_more_of_them_take_no_more_queries(account: Cast) -> None:
    def queries(count: int) -> int:
        principal = replace(account.principal(), user_id=None)  # nothing for the audit record
        wishes = [Wish(principal, SandboxRequest(template="debian-12")) for _ in range(count)]
        with CaptureQueriesContext(connection) as captured:
            found = sandboxes_reserve(wishes)
            ids = [one[0].id for one in found if not isinstance(one, Exception)]
            assert len(ids) == count
            rows = sandboxes_running([*ids, "sbx_gone"])
        assert [row and row.id for row in rows] == [*ids, None]
        return len(captured)

    on_plan(account, max_concurrent=50)
    assert queries(1) == queries(8)
