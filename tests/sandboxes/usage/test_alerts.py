"""Owners are told of half, four fifths and all of a credit or cap: once each, whoever counts."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from unittest.mock import patch

import orjson
import pytest
from django.core import mail
from django.core.mail import EmailMessage
from django.db import connection
from django.utils import timezone
from pytest_django import DjangoDbBlocker

from accounts.services import member_add, user_create
from sandboxes.usage.alerts import CLAIMED_FOR, MAIL_FOR, alerts_mail, alerts_raise
from sandboxes.usage.models import Alert, Cap, Spending
from sandboxes.webhooks.models import Delivery, Webhook
from tests.cast import Cast, make_cast

NOW = datetime(2030, 1, 15, tzinfo=UTC)


def spend(cast: Cast, eur: str, *, month: str = "0", first: date = date(2030, 1, 1)) -> None:
    values = {"eur": Decimal(eur), "month": first, "month_eur": Decimal(month)}
    Spending.objects.update_or_create(account=cast.account, defaults=values)


def tell(*, now: datetime = NOW) -> None:
    alerts_raise(now=now)
    alerts_mail(now=now)


def told(cast: Cast) -> list[tuple[str, str, int]]:
    rows = Alert.objects.filter(account=cast.account).order_by("id")
    return [(row.of, row.period, row.percent) for row in rows]


def test_each_share_of_the_credit_is_mailed_to_owners_once(account: Cast) -> None:
    other = user_create(email="second-owner@example.org")
    member_add(account=account.account, user=other, role="owner")
    for eur in ("12.49", "12.50", "19", "20", "26"):
        spend(account, eur)
        tell()
        tell()
    assert [percent for _, _, percent in told(account)] == [50, 80, 100]
    subjects = [message.subject for message in mail.outbox]
    name = account.account.name
    assert subjects == [f"{name} has spent {share} % of its credit" for share in (50, 80, 100)]
    assert set(mail.outbox[0].to) == {account.owner.email, other.email}
    assert "12.50 EUR of its credit of 25.00 EUR" in mail.outbox[0].body
    assert "Beyond 100 % usage is billed." in mail.outbox[0].body
    assert "/usage/" in mail.outbox[0].body


def test_a_month_s_cap_is_told_anew_each_month_and_when_it_was_changed(account: Cast) -> None:
    cap = Cap.objects.create(account=account.account, monthly_eur=Decimal(10))
    spend(account, "0", month="9")
    tell()
    assert told(account) == [("month", "2030-01", 50), ("month", "2030-01", 80)]
    cap.monthly_eur = Decimal(18)
    cap.save()
    tell()
    assert told(account)[2:] == [("month", "2030-01", 50)]
    spend(account, "0", month="18", first=date(2030, 2, 1))
    tell()
    assert told(account)[3:] == [("month", "2030-02", share) for share in (50, 80, 100)]
    assert "Its sandboxes are paused" in mail.outbox[-1].body
    assert "its cap for 2030-02 of 18.00 EUR" in mail.outbox[-1].body


def test_webhooks_are_told_in_the_same_transaction(account: Cast, other_account: Cast) -> None:
    row = {"account": account.account, "actor": {"type": "system"}, "salt": "s"}
    Webhook.objects.create(**row, url="http://203.0.113.9/hook", event_types=["usage.alert"])
    Webhook.objects.create(**row, url="http://203.0.113.9/other", event_types=["sandbox.created"])
    spend(account, "20")
    spend(other_account, "1")
    tell()
    tell()
    told = Delivery.objects.filter(webhook__account=account.account).order_by("id")
    bodies = [orjson.loads(one.body) for one in told]
    assert [(body["type"], body["data"]["percent"]) for body in bodies] == [
        ("usage.alert", 50),
        ("usage.alert", 80),
    ]
    assert bodies[0]["data"] == {
        "account_id": account.account.id,
        "of": "credit",
        "period": None,
        "percent": 50,
        "limit_eur": "25.00",
        "spent_eur": "20.000000",
        "stops": False,
        "at": NOW.isoformat(),
    }


def test_a_mail_that_cannot_be_sent_is_sent_later_and_once(account: Cast) -> None:
    spend(account, "13")
    with patch("django.core.mail.message.EmailMessage.send", side_effect=OSError("no route")):
        tell()
    alert = Alert.objects.get(account=account.account)
    assert (alert.mailed_at, alert.mail_error) == (None, "no route")
    tell(now=NOW + timedelta(minutes=1))
    tell(now=NOW + timedelta(minutes=2))
    assert len(mail.outbox) == 1
    alert.refresh_from_db()
    assert alert.mailed_at
    assert not alert.mail_error


def test_a_process_that_is_killed_while_sending_has_one_mail_sent_again_at_most(
    account: Cast,
) -> None:
    class Killed(BaseException):
        pass

    def dies(message: EmailMessage) -> None:
        sent.append(message)
        raise Killed

    spend(account, "13")
    sent: list[EmailMessage] = []
    with patch("django.core.mail.message.EmailMessage.send", dies), pytest.raises(Killed):
        tell()
    # Others leave it alone for a while: that process may be alive, and slow.
    for seconds in (0, 5, CLAIMED_FOR.total_seconds()):
        tell(now=NOW + timedelta(seconds=seconds))
    assert not mail.outbox
    for seconds in (1, 5, 3600):
        tell(now=NOW + CLAIMED_FOR + timedelta(seconds=seconds))
    (again,) = mail.outbox
    ids = [one.message()["Message-ID"] for one in (*sent, again)]
    assert ids[0] == ids[1]
    assert account.account.id in ids[0]


def test_a_mail_that_could_not_be_sent_for_a_day_is_old_news(account: Cast) -> None:
    spend(account, "13")
    alerts_raise(now=NOW)
    assert alerts_mail(now=NOW + MAIL_FOR + timedelta(seconds=1)) == 0
    assert not mail.outbox


def test_a_name_with_a_line_break_ends_no_header(account: Cast) -> None:
    account.account.name = "Evil\r\nBcc: everybody@example.org"
    account.account.save()
    spend(account, "13")
    tell()
    (message,) = mail.outbox
    assert message.subject.startswith("Evil Bcc: everybody@example.org has spent 50 %")
    assert message.message()["Bcc"] is None


@pytest.fixture
def committed(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[Cast]:
    """Several connections must see it."""
    with django_db_blocker.unblock():
        cast = make_cast()
        yield cast
        Spending.objects.filter(account=cast.account).delete()
        Alert.objects.filter(account=cast.account).delete()
        connection.close()


def test_any_number_of_workers_at_once_tell_once(committed: Cast) -> None:
    spend(committed, "26")
    failures: list[BaseException] = []
    begin = threading.Barrier(6)

    def work() -> None:
        try:
            begin.wait(10)
            for _ in range(5):
                tell(now=timezone.now())
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert [percent for _, _, percent in told(committed)] == [50, 80, 100]
    mine = [one for one in mail.outbox if committed.owner.email in one.to]
    assert sorted(one.subject.rpartition("spent ")[2] for one in mine) == [
        "100 % of its credit",
        "50 % of its credit",
        "80 % of its credit",
    ]
