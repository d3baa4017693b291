"""Rows of sessions that are over."""

from __future__ import annotations

from datetime import timedelta

from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.utils import timezone

from accounts.models import SignedInSession
from accounts.sessions import sessions_clear
from tests.cast import Cast


def _session(account: Cast, *, days_left: int, used_hours_ago: int) -> str:
    store = SessionStore()
    store.create()
    key = store.session_key
    assert key is not None
    now = timezone.now()
    Session.objects.filter(session_key=key).update(expire_date=now + timedelta(days=days_left))
    used = now - timedelta(hours=used_hours_ago)
    SignedInSession.objects.create(session_key=key, user=account.owner, last_used_at=used)
    return key


def test_sessions_that_are_over_are_dropped_with_where_they_came_from(account: Cast) -> None:
    over = _session(account, days_left=-1, used_hours_ago=30)
    lives = _session(account, days_left=1, used_hours_ago=30)
    # A sign-in notes where it comes from a moment before its session is stored.
    SignedInSession.objects.create(session_key="begins", user=account.owner)
    assert sessions_clear(now=timezone.now()) >= 1
    assert set(Session.objects.filter(session_key__in=[over, lives])) == {
        Session.objects.get(session_key=lives)
    }
    known = SignedInSession.objects.filter(user=account.owner)
    assert set(known.values_list("session_key", flat=True)) == {lives, "begins"}
