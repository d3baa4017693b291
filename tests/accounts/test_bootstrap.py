"""``manage.py bootstrap`` on an empty database, and again."""

from __future__ import annotations

import json
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.utils import timezone

from accounts.models import Account, Membership, Plan, Size, Token, User
from accounts.tokens import parse

pytestmark = pytest.mark.django_db


def bootstrap(*arguments: str) -> dict[str, str]:
    out = StringIO()
    call_command("bootstrap", *arguments, stdout=out)
    made: dict[str, str] = json.loads(out.getvalue())
    return made


def test_it_makes_an_installation_that_can_be_used() -> None:
    made = bootstrap("--email", "Ada@example.org", "--token-name", "dev")
    user = User.objects.get(email="ada@example.org")
    assert made["email"] == user.email
    assert user.check_password(made["password"])
    token = Token.objects.get(name="dev")
    parsed = parse(made["token"])
    assert parsed is not None
    assert parsed.digest == token.digest
    assert sorted(token.scopes) == ["sandboxes:read", "sandboxes:write"]
    assert Membership.objects.get(user=user).role == "owner"
    assert user.is_staff
    assert token.account.plan.max_concurrent >= 200


def test_the_plans_and_sizes_are_those_of_the_wire() -> None:
    bootstrap()
    sizes = {size.name: (int(size.cpu), size.memory_mb) for size in Size.objects.all()}
    assert sizes == {"small": (1, 1024), "medium": (2, 4096), "large": (4, 8192)}
    plans = {plan.name: plan for plan in Plan.objects.all()}
    assert {name: plan.max_snapshots for name, plan in plans.items()} == {
        "free": 1,
        "payg": 10,
        "enterprise": 50,
    }
    assert [size.name for size in plans["free"].sizes.all()] == ["small"]
    assert plans["free"].max_concurrent == 1


def test_a_second_time_it_makes_and_tells_nothing() -> None:
    bootstrap()
    assert bootstrap() == {}
    assert (User.objects.count(), Account.objects.count(), Token.objects.count()) == (1, 1, 1)


def test_it_keeps_what_an_operator_edited() -> None:
    bootstrap()
    Plan.objects.filter(name="free").update(max_concurrent=7)
    Plan.objects.get(name="payg").sizes.clear()
    bootstrap()
    assert Plan.objects.get(name="free").max_concurrent == 7
    assert not Plan.objects.get(name="payg").sizes.exists()


def test_a_password_of_ones_own_is_taken() -> None:
    made = bootstrap("--password", "a password of my own")
    assert User.objects.get().check_password("a password of my own")
    assert made["password"] == "a password of my own"


def test_a_lost_token_is_made_again() -> None:
    first = bootstrap()
    Token.objects.all().delete()
    again = bootstrap()
    assert set(again) == {"token"}
    assert again["token"] != first["token"]


def test_a_token_that_nobody_knows_gets_another_beside_it_and_no_third() -> None:
    first = bootstrap("--token-lost")
    assert Token.objects.get().name == "first token"
    again = bootstrap("--token-lost")
    assert set(again) == {"token"}
    assert again["token"] != first["token"]
    assert Token.objects.filter(name__startswith="first token, 20").count() == 1
    Token.objects.filter(name="first token").update(revoked_at=timezone.now())
    assert bootstrap() == {}


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(CommandError, match="e-mail"):
        bootstrap("--email", "nobody")
