"""Sign-ins are on record, whoever tried."""

from __future__ import annotations

import pytest
from django.contrib.auth import authenticate
from django.test import Client

from accounts.models import AuditEntry
from tests.cast import PASSWORD, Cast

pytestmark = pytest.mark.django_db


def test_a_sign_in_and_a_sign_out_are_recorded_for_the_account(account: Cast) -> None:
    client = Client(headers={"user-agent": "tests/1"})
    client.force_login(account.operator)
    client.logout()
    entries = AuditEntry.objects.filter(account=account.account).order_by("id")
    assert [entry.action for entry in entries] == ["person.signed_in", "person.signed_out"]
    assert all(entry.target == account.operator.email for entry in entries)


def test_a_wrong_password_is_recorded_without_it(account: Cast) -> None:
    assert authenticate(username=account.operator.email, password="hunter2 hunter2") is None
    entry = account.account.audit_entries.get()
    assert (entry.action, entry.account_id) == ("person.sign_in_failed", account.account.id)
    assert "hunter2" not in str(account.account.audit_entries.values().get())


def test_an_unknown_address_is_recorded_for_nobody() -> None:
    assert authenticate(username="who\x00@example.org", password=PASSWORD) is None
    entry = AuditEntry.objects.filter(account=None).latest("id")
    assert entry.account is None
    assert entry.actor == {"type": "person", "name": "who@example.org"}
