"""People's sessions: where each came from, when it was used, and how it is ended."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from typing import Final

from django.contrib.sessions.models import Session
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet
from django.utils import timezone

from accounts.announce import CONTROL, announce, session_mark
from accounts.models import SignedInSession, User
from accounts.origin import Origin
from accounts.selectors import principal_of_user
from accounts.services import audit_record

TOUCH_SECONDS: Final = 60.0
#: A sign-in notes where it came from a moment before its session is stored.
_SETTLED: Final = timedelta(hours=1)
_MOST_TOUCHED: Final = 10_000
_NOWHERE: Final = Origin()
_touched: dict[str, float] = {}


def session_begin(*, user: User, session_key: str, method: str, origin: Origin) -> None:
    """Note where a new session came from; what is left of ended ones goes."""
    lives = Session.objects.filter(session_key=OuterRef("session_key"))
    SignedInSession.objects.filter(~Exists(lives), user=user).delete()
    now = timezone.now()
    SignedInSession.objects.update_or_create(
        session_key=session_key,
        defaults={
            "user": user,
            "method": method,
            "address": origin.address or None,
            "user_agent": origin.user_agent,
            "created_at": now,
            "last_used_at": now,
        },
    )
    _note(session_key)


def session_touch(*, session_key: str, user_id: int, origin: Origin) -> None:
    """It is used, from there: written at most once a minute by each process."""
    now = time.monotonic()
    if now - _touched.get(session_key, -TOUCH_SECONDS) < TOUCH_SECONDS:
        return
    _note(session_key)
    SignedInSession.objects.update_or_create(
        session_key=session_key,
        defaults={
            "user_id": user_id,
            "last_used_at": timezone.now(),
            "address": origin.address or None,
            "user_agent": origin.user_agent,
        },
    )


def session_renamed(*, old: str | None, new: str | None) -> None:
    """The same session goes on under another key."""
    if old and new and old != new:
        SignedInSession.objects.filter(session_key=old).update(session_key=new)
        _note(new)


def _note(session_key: str) -> None:
    if len(_touched) >= _MOST_TOUCHED:
        _touched.clear()
    _touched[session_key] = time.monotonic()


def sessions_of(user: User) -> QuerySet[SignedInSession]:
    """Those that still can be used, the latest used first."""
    now = timezone.now()
    lives = Session.objects.filter(session_key=OuterRef("session_key"), expire_date__gt=now)
    rows = SignedInSession.objects.filter(Exists(lives), user=user)
    return rows.order_by("-last_used_at", "-created_at")


@transaction.atomic
def sessions_clear(*, now: datetime) -> int:
    """Drop the rows of sessions that are over; how many those were."""
    gone, _ = Session.objects.filter(expire_date__lt=now).delete()
    lives = Session.objects.filter(session_key=OuterRef("session_key"))
    SignedInSession.objects.filter(~Exists(lives), last_used_at__lt=now - _SETTLED).delete()
    return gone


@transaction.atomic
def session_end(*, user: User, mark: str, origin: Origin = _NOWHERE) -> bool:
    """End the session of theirs that ``session_mark`` names, and what it has open."""
    for row in sessions_of(user):
        if session_mark(row.session_key) == mark:
            _end(user, [row], origin)
            return True
    return False


@transaction.atomic
def sessions_end_others(*, user: User, keep: str | None, origin: Origin = _NOWHERE) -> int:
    """End all of theirs but the one with the key ``keep``; how many those were."""
    others = [row for row in sessions_of(user) if row.session_key != keep]
    if others:
        _end(user, others, origin)
    return len(others)


def _end(user: User, rows: list[SignedInSession], origin: Origin) -> None:
    principal = principal_of_user(user=user)
    keys = [row.session_key for row in rows]
    Session.objects.filter(session_key__in=keys).delete()
    SignedInSession.objects.filter(session_key__in=keys).delete()
    for row in rows:
        mark = session_mark(row.session_key)
        announce(group=CONTROL, message={"type": "session.ended", "session": mark})
        audit_record(
            principal=principal,
            actor=user.actor,
            action="person.session_ended",
            target=user.email,
            before={
                "address": row.address,
                "user_agent": row.user_agent,
                "began": row.created_at.isoformat(),
            },
            origin=origin,
        )
