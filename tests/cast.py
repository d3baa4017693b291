"""The people of the tests: an account with one person of each role."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache
from typing import Any

from django.contrib.auth.hashers import make_password
from django.utils import timezone
from ulid import ULID

from accounts.catalogue import catalogue_install
from accounts.models import Account, Plan, Role, User
from accounts.policy import TOKEN_SCOPES, Principal
from accounts.selectors import principal_of_user
from accounts.services import Minted, account_create, member_add, token_mint, user_create
from sandboxes.models import Sandbox, Status

PASSWORD = "correct horse battery staple"


@dataclass(frozen=True)
class Cast:
    """One account on the largest plan, and who is in it. Everybody signs in with ``PASSWORD``."""

    account: Account
    owner: User
    operator: User
    viewer: User

    def principal(self, user: User | None = None) -> Principal:
        """That person (the owner) as who acts."""
        principal = principal_of_user(user=user or self.owner, account_id=self.account.id)
        assert principal is not None
        return principal

    def ended_sandbox(self) -> str:
        """The id of one that is over, for tests that need no more than its row."""
        return self.sandbox_row(status=Status.TERMINATED, ended_at=timezone.now()).id

    def running_sandbox(self, **changes: Any) -> Sandbox:
        """One that runs for an hour as far as the database knows.

        Without ``started_at``, or the reaper would ask the host for it.
        """
        values = {"expires_at": timezone.now() + timedelta(hours=1), "started_at": None}
        return self.sandbox_row(**{"status": Status.RUNNING, **values, **changes})

    def sandbox_row(
        self, *, status: Status, ended_at: datetime | None = None, **changes: Any
    ) -> Sandbox:
        """A row without anything on a host."""
        now = timezone.now()
        values = {
            "actor": {"type": "system"},
            "template": "debian-12",
            "size": "small",
            "cpu": 1,
            "memory_mb": 1024,
            "disk_mb": 1024,
            "network": "off",
            "region": "local",
            "node_id": "local",
            "timeout_seconds": 60,
            "on_timeout": "kill",
            "expires_at": now,
            "started_at": now,
            "reason": "expired" if ended_at else "",
        }
        values |= {"account": self.account, "status": status, "ended_at": ended_at}
        return Sandbox.objects.create(**{**values, **changes})

    def mint(self, *, name: str = "test", scopes: Sequence[str] = TOKEN_SCOPES) -> Minted:
        """A token of the owner's; ``.text`` is what a client sends."""
        return token_mint(principal=self.principal(), name=name, scopes=scopes)


def make_cast(*, plan: str = "enterprise") -> Cast:
    """A fresh account that shares nothing with any other."""
    catalogue_install()
    mark = str(ULID()).lower()
    people = {
        role: _person(email=f"{role}-{mark}@example.org", name=role.title())
        for role in (Role.OWNER, Role.OPERATOR, Role.VIEWER)
    }
    account = account_create(
        name=f"Account {mark}", plan=Plan.objects.get(name=plan), owner=people[Role.OWNER]
    )
    for role in (Role.OPERATOR, Role.VIEWER):
        member_add(account=account, user=people[role], role=role)
    return Cast(account, people[Role.OWNER], people[Role.OPERATOR], people[Role.VIEWER])


def _person(*, email: str, name: str) -> User:
    """A digest takes its time on purpose, so that all of them share one."""
    user = user_create(email=email, name=name)
    user.password = _digest()
    user.save(update_fields=["password"])
    return user


@cache
def _digest() -> str:
    return make_password(PASSWORD)
