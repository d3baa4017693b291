"""What a create reads about its account: all of it, in one query, with the account locked."""

from __future__ import annotations

import pytest
from django.db import connection, transaction
from django.forms.models import model_to_dict
from django.test.utils import CaptureQueriesContext

from accounts.models import Account, Plan, Size
from sandboxes.limits import SandboxRequest
from sandboxes.models import Sandbox, Status
from sandboxes.offers import offer_locked
from sandboxes.reserving import sandbox_reserve
from sandboxes.selectors import live_count
from tests.cast import Cast

pytestmark = pytest.mark.django_db


def test_an_offer_is_the_plan_the_menu_and_what_of_it_is_covered(account: Cast) -> None:
    for plan in Plan.objects.all():
        account.account.plan = plan
        account.account.save()
        with transaction.atomic():
            offer = offer_locked(account.account.id)
        assert model_to_dict(offer.plan) == model_to_dict(plan)
        assert [model_to_dict(size) for size in offer.menu] == [
            model_to_dict(size) for size in Size.objects.all()
        ]
        assert offer.allowed == set(plan.sizes.values_list("name", flat=True))


def test_an_account_that_is_gone_has_no_offer(account: Cast) -> None:
    with transaction.atomic(), pytest.raises(Account.DoesNotExist):
        offer_locked("acc_gone")


def test_only_live_sandboxes_of_the_account_count(account: Cast, other_account: Cast) -> None:
    request = SandboxRequest(template="debian-12")
    rows = [sandbox_reserve(principal=account.principal(), request=request)[0] for _ in Status]
    for row, status in zip(rows, Status, strict=True):
        Sandbox.objects.filter(id=row.id).update(status=status)
    sandbox_reserve(principal=other_account.principal(), request=request)
    assert live_count(account.account.id) == 4


def test_a_create_holds_the_account_for_three_queries(account: Cast) -> None:
    """Others of the account wait meanwhile, so each query more is felt by all of them."""
    request = SandboxRequest(template="debian-12")
    with CaptureQueriesContext(connection) as captured:
        sandbox_reserve(principal=account.principal(), request=request)
    queries = [query["sql"].strip() for query in captured.captured_queries]
    locked = next(index for index, sql in enumerate(queries) if "FOR NO KEY UPDATE" in sql)
    made = next(index for index, sql in enumerate(queries) if sql.startswith("INSERT"))
    assert made - locked == 2
    assert 'INSERT INTO "sandboxes_sandbox"' in queries[made]
