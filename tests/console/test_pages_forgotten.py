"""A forgotten password: a link by mail, and what it does not do."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any

import pyotp
import pytest
from django.conf import settings as configured
from django.core import mail
from django.test import Client
from playwright.sync_api import Page, expect
from pytest_django import Settings

from accounts import attempts
from accounts.factors import authenticator_add, fresh_secret
from accounts.models import AuditEntry, Authenticator, User
from accounts.origin import Origin
from console import tasks
from tests.cast import PASSWORD, Cast
from tests.console.pages import shot, watched

NEW = "another horse battery staple"


@pytest.fixture(autouse=True)
def mailing(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """A mail server is configured; what pages hand to a worker is done at once, and kept."""
    settings.ORKESTR_EMAIL_URL = "smtp://mail.example"
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    settings.ORKESTR_BASE_URL = "https://console.example.org"
    handed: list[dict[str, str]] = []

    def send_task(name: str, *, kwargs: dict[str, str], **_: Any) -> None:
        assert name == tasks.mail_password_link.name
        handed.append(kwargs)
        tasks.mail_password_link(**kwargs)

    monkeypatch.setattr("console.views.forgotten.current_app.send_task", send_task)
    return handed


def _ask(email: str, **more: Any) -> Any:
    return Client(**more).post("/login/forgot/", {"email": email})


def _path() -> str:
    """Of the link that was mailed last."""
    found = re.search(r"https://console\.example\.org(\S+)", str(mail.outbox[-1].body))
    assert found
    return found[1]


def _opened(client: Client, path: str) -> str:
    """Django keeps the link's token in the session and goes on to an address without it."""
    answer = client.get(path)
    assert answer.status_code == 302
    assert path.split("/")[-2] not in answer["Location"]
    return str(answer["Location"])


def _without_what_differs_each_time(html: str) -> str:
    """The page's token and the server's clock."""
    return re.sub(r'csrfmiddlewaretoken.*?>|X-CSRFToken.*?\}|data-now="\d+"', "", html)


def _actions(account: Cast) -> list[str]:
    rows = AuditEntry.objects.filter(account=account.account).order_by("id")
    return list(rows.values_list("action", flat=True))


def test_a_link_by_mail_leads_to_a_new_password_and_ends_what_was_open(account: Cast) -> None:
    elsewhere = Client()
    elsewhere.post("/login/", {"email": account.owner.email, "password": PASSWORD})
    assert elsewhere.get("/").status_code == 200
    answer = _ask(account.owner.email.upper(), REMOTE_ADDR="192.0.2.7")
    assert "a link is on its way" in answer.content.decode()
    (sent,) = mail.outbox
    assert sent.to == [account.owner.email]
    assert "192.0.2.7" in sent.body

    client = Client()
    form = _opened(client, path := _path())
    assert client.post(form, {"password": "short"}).status_code == 422
    assert client.post(form, {"password": NEW})["Location"] == "/login/"
    assert elsewhere.get("/").status_code == 302
    assert client.get("/").status_code == 302, "a link signs nobody in"
    old = {"email": account.owner.email, "password": PASSWORD}
    assert client.post("/login/", old).status_code == 422
    assert client.post("/login/", {**old, "password": NEW}).status_code == 302
    assert Client().get(path).status_code == 404, "good once"
    acts = _actions(account)
    for act in ("password_link_asked", "password_reset", "session_ended"):
        assert f"person.{act}" in acts
    row = AuditEntry.objects.get(account=account.account, action="person.password_link_asked")
    assert row.address == "192.0.2.7"


def test_who_has_no_account_is_answered_the_same(
    account: Cast, mailing: list[dict[str, str]]
) -> None:
    gone = account.viewer
    User.objects.filter(pk=gone.pk).update(is_active=False)
    answers = {
        _without_what_differs_each_time(page.content.decode()).replace(email, "")
        for email in (account.owner.email, "nobody@example.org", gone.email)
        for page in [_ask(email)]
    }
    assert len(answers) == 1
    assert len(mailing) == 3, "the same work for each"
    assert [one.to for one in mail.outbox] == [[account.owner.email]]
    assert _ask("not an address").status_code == 422
    assert _ask("nul\x00@example.org").status_code == 422


def test_the_second_step_is_still_asked_for(account: Cast) -> None:
    secret = fresh_secret()
    authenticator_add(
        user=account.owner, secret=secret, code=pyotp.TOTP(secret).now(), origin=Origin()
    )
    Authenticator.objects.filter(user=account.owner).update(last_step=0)
    _ask(account.owner.email)
    client = Client()
    client.post(_opened(client, _path()), {"password": NEW})
    answer = client.post("/login/", {"email": account.owner.email, "password": NEW})
    assert answer["Location"] == "/login/second/"
    assert client.get("/").status_code == 302


def test_a_link_s_host_is_the_installation_s_whatever_a_request_says(account: Cast) -> None:
    assert "localhost" in configured.ALLOWED_HOSTS
    _ask(account.owner.email, HTTP_HOST="localhost", HTTP_X_FORWARDED_HOST="evil.example")
    assert "https://console.example.org/login/reset/" in mail.outbox[0].body
    assert "localhost" not in mail.outbox[0].body
    assert "evil" not in mail.outbox[0].body
    assert _ask(account.owner.email, HTTP_HOST="evil.example").status_code == 400


def test_asking_is_bounded_for_an_address_and_for_a_person(account: Cast) -> None:
    for email in (account.owner.email, "nobody@example.org"):
        for number in range(attempts.RESET_TO_PERSON.most):
            assert _ask(email, REMOTE_ADDR=f"192.0.2.{number}").status_code == 200
        refused = _ask(email, REMOTE_ADDR="192.0.2.99")
        assert refused.status_code == 429
        assert "Try again in 60 minutes" in refused.content.decode()
    for number in range(attempts.RESET_OF_ADDRESS.most):
        assert _ask(f"n{number}@example.org", REMOTE_ADDR="192.0.2.200").status_code == 200
    assert _ask("one.more@example.org", REMOTE_ADDR="192.0.2.200").status_code == 429


def test_a_link_that_is_old_or_made_up_opens_nothing(
    account: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    _ask(account.owner.email)
    path = _path()
    uid = path.split("/")[3]
    for bad in (f"/login/reset/{uid}/set-password/", f"/login/reset/{uid}/x-{'0' * 32}/"):
        answer = Client().get(bad)
        assert answer.status_code == 404
        assert "This link is over" in answer.content.decode()
        assert Client().post(bad, {"password": NEW}).status_code == 404
    later = datetime.now() + timedelta(seconds=configured.PASSWORD_RESET_TIMEOUT + 1)
    monkeypatch.setattr("django.contrib.auth.tokens.default_token_generator._now", lambda: later)
    assert Client().get(path).status_code == 404


def test_without_a_mail_server_the_page_says_so(account: Cast, settings: Settings) -> None:
    settings.ORKESTR_EMAIL_URL = ""
    page = Client().get("/login/forgot/").content.decode()
    assert "sends no mail" in page
    assert "manage.py changepassword" in page
    assert "<form" not in page
    assert "sends no mail" in _ask(account.owner.email).content.decode()
    assert not mail.outbox


def test_a_password_is_chosen_anew_in_a_browser(page: Page, account: Cast) -> None:
    complaints = watched(page)
    page.goto("/login/")
    page.get_by_role("link", name="Forgot password?").click()
    expect(page.get_by_text("This installation sends no mail")).to_be_visible()
    shot(page, "forgot-no-mail")
    _ask(account.owner.email)
    page.goto(_path())
    page.get_by_label("New password").fill("1234567890")
    page.get_by_role("button", name="Change the password").click()
    expect(page.get_by_text("too common")).to_be_visible()
    shot(page, "password-new")
    page.get_by_label("New password").fill(NEW)
    page.get_by_role("button", name="Change the password").click()
    expect(page.get_by_text("Your password is changed. Sign in with it.")).to_be_visible()
    shot(page, "password-changed")
    page.get_by_label("E-mail").fill(account.owner.email)
    page.get_by_label("Password").fill(NEW)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", name="No sandbox yet")).to_be_visible()
    assert [one for one in complaints if "422" not in one] == []
