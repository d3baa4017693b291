"""Whether people who are connected still may be: one question a moment for all of them together.

Signing out is announced; what is not (a session that runs out, a role that is lowered, a person who
is removed) is found here within a second, at two queries a process however many are connected.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from django.contrib.sessions.models import Session
from django.db import Error as DatabaseError
from django.utils import timezone

from accounts.database import in_database
from accounts.models import Membership

LOOK_SECONDS: Final = 0.6

log = logging.getLogger(__name__)


@dataclass(eq=False, slots=True)
class Standing:
    """One connection's. ``changed`` is called with the new role, None when there is none."""

    session_key: str
    user_id: int
    account_id: str
    role: str
    changed: Callable[[str | None], Awaitable[None]]


class Watch:
    """All connections of this process."""

    def __init__(self) -> None:
        self._all: set[Standing] = set()
        self._task: asyncio.Task[None] | None = None

    def add(self, standing: Standing) -> None:
        self._all.add(standing)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._run())

    def remove(self, standing: Standing) -> None:
        self._all.discard(standing)

    async def _run(self) -> None:
        while self._all:
            await asyncio.sleep(LOOK_SECONDS)
            try:
                await self._look()
            except DatabaseError as error:
                log.warning("Nobody's standing can be read: %s", str(error).strip())

    async def _look(self) -> None:
        asked = tuple(self._all)
        sessions, roles = await in_database(_read, asked)
        for one in asked:
            known = one.session_key in sessions
            role = roles.get((one.user_id, one.account_id)) if known else None
            if role != one.role and one in self._all:
                one.role = role or ""
                await one.changed(role)


watch: Final = Watch()


def _read(asked: tuple[Standing, ...]) -> tuple[set[str], dict[tuple[int, str], str]]:
    keys = {one.session_key for one in asked}
    users = {one.user_id for one in asked}
    sessions = Session.objects.filter(session_key__in=keys, expire_date__gt=timezone.now())
    members = Membership.objects.filter(user_id__in=users, user__is_active=True)
    rows = members.values_list("user_id", "account_id", "role")
    return (
        set(sessions.values_list("session_key", flat=True)),
        {(user, account): role for user, account, role in rows},
    )
