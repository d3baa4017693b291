"""Sign-ins are on record, whoever tried."""

from __future__ import annotations

import pytest
from django.contrib.auth import authenticate
from django.test import Client

from accounts.models import AuditEntry, User
from tests.accounts.people import PASSWORD, make_cast

pytestmark = pytest.mark.django_db


def test_a_sign_in_and_a_sign_out_are_recorded_for_the_account() -> None:
    cast = make_cast()
    client = Client(headers={"user-agent": "tests/1"})
    client.force_login(User.objects.get(email="oscar@example.org"))
    client.logout()
    entries = AuditEntry.objects.filter(account=cast.acme).order_by("id")
    assert [entry.action for entry in entries] == ["person.signed_in", "person.signed_out"]
    assert all(entry.target == "oscar@example.org" for entry in entries)


def test_a_wrong_password_is_recorded_without_it() -> None:
    cast = make_cast()
    assert authenticate(username="oscar@example.org", password="hunter2 hunter2") is None
    entry = AuditEntry.objects.get()
    assert (entry.action, entry.account_id) == ("person.sign_in_failed", cast.acme.id)
    assert "hunter2" not in str(AuditEntry.objects.values().get())


def test_an_unknown_address_is_recorded_for_nobody() -> None:
    assert authenticate(username="who\x00@example.org", password=PASSWORD) is None
    entry = AuditEntry.objects.get()
    assert entry.account is None
    assert entry.actor == {"type": "person", "name": "who@example.org"}
