"""A small fixed cast: two accounts, and people with every role in the first."""

from __future__ import annotations

from dataclasses import dataclass

from accounts.catalogue import catalogue_install
from accounts.models import Account, Plan, Role, User
from accounts.policy import Principal
from accounts.selectors import principal_of_user
from accounts.services import account_create, member_add, user_create

PASSWORD = "correct horse battery"


@dataclass(frozen=True)
class Cast:
    """Alice owns Acme, Oscar operates it, Vera views it; Bob owns Other."""

    acme: Account
    other: Account
    alice: Principal
    oscar: Principal
    vera: Principal
    bob: Principal


def make_cast(*, plan: str = "payg") -> Cast:
    """Needs the database."""
    catalogue_install()
    chosen = Plan.objects.get(name=plan)
    alice, bob = _user("alice"), _user("bob")
    acme = account_create(name="Acme", plan=chosen, owner=alice)
    other = account_create(name="Other", plan=chosen, owner=bob)
    oscar, vera = _user("oscar"), _user("vera")
    member_add(account=acme, user=oscar, role=Role.OPERATOR)
    member_add(account=acme, user=vera, role=Role.VIEWER)
    return Cast(acme, other, *map(principal, (alice, oscar, vera, bob)))


def principal(user: User) -> Principal:
    """A member as who they act for."""
    found = principal_of_user(user=user)
    assert found is not None
    return found


def _user(name: str) -> User:
    password = PASSWORD if name == "alice" else None  # a digest costs 50 ms, on purpose
    return user_create(email=f"{name}@example.org", password=password, name=name.title())
