"""Signing in: one step or two, passkeys, sessions, and what nobody gets past."""

from __future__ import annotations

import re
import time
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pyotp
import pytest
from django.conf import settings
from django.contrib.sessions.models import Session
from django.test import Client
from playwright.sync_api import Page, expect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Origin

from accounts import attempts, factors
from accounts.factors import authenticator_add, factors_of, fresh_secret
from accounts.models import AuditEntry, Authenticator, Passkey, RecoveryCode, SignedInSession, User
from accounts.origin import Origin as From
from console.user_agents import device_of
from tests.cast import PASSWORD, Cast
from tests.console.pages import shot, sign_in, watched
from tests.stack import Stack

HOME = From("192.0.2.7", "tests/1")
CHROME = "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 Chrome/140.0 Safari/537.36"


def _typed(user: User, password: str = PASSWORD, **more: str) -> dict[str, str]:
    return {"email": user.email, "password": password, **more}


def _with_app(user: User) -> tuple[str, list[str]]:
    """The secret, as of a minute ago so that the code of now is not spent, and recovery codes."""
    secret = fresh_secret()
    code = pyotp.TOTP(secret).now()
    codes = authenticator_add(user=user, secret=secret, code=code, origin=HOME)
    Authenticator.objects.filter(user=user).update(last_step=0)
    return secret, codes


def _signed_in(client: Client) -> bool:
    return client.get("/").status_code == 200


def _actions(account: Cast) -> list[str]:
    rows = AuditEntry.objects.filter(account=account.account).order_by("id")
    return list(rows.values_list("action", flat=True))


def test_a_password_alone_signs_nobody_in_who_has_a_second_step(account: Cast) -> None:
    secret, _ = _with_app(account.owner)
    client = Client()
    answer = client.post("/login/", _typed(account.owner, next="/tokens/"))
    assert answer["Location"] == "/login/second/"
    for path in ("/", "/tokens/", "/docs/", "/audit/", "/settings/you/", "/admin/"):
        assert client.get(path).status_code == 302, path
        assert "/login/" in client.get(path)["Location"]
    assert client.get("/login/second/").status_code == 200
    assert client.post("/login/second/", {"code": "000000"}).status_code == 422
    assert not _signed_in(client)
    code = pyotp.TOTP(secret).now()
    answer = client.post("/login/second/", {"code": f"{code[:3]} {code[3:]}"})
    assert answer["Location"] == "/tokens/"
    assert _signed_in(client)
    client.post("/logout/")
    client.post("/login/", _typed(account.owner))
    assert client.post("/login/second/", {"code": code}).status_code == 422, "good once"
    assert _actions(account).count("person.signed_in") == 1
    assert "person.code_refused" in _actions(account)


def test_a_recovery_code_is_good_once(account: Cast) -> None:
    _, codes = _with_app(account.owner)
    for expected in (302, 422):
        client = Client()
        client.post("/login/", _typed(account.owner))
        answer = client.post("/login/second/", {"code": codes[0].upper()})
        assert answer.status_code == expected
    assert factors_of(account.owner).recovery_left == len(codes) - 1
    stored = str(list(RecoveryCode.objects.values())) + str(list(Authenticator.objects.values()))
    assert codes[1] not in stored
    assert codes[1].replace("-", "") not in stored


def test_the_second_step_waits_for_a_while_only_and_for_that_password(
    account: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret, _ = _with_app(account.owner)
    client = Client()
    assert client.get("/login/second/")["Location"] == "/login/"
    client.post("/login/", _typed(account.owner))
    monkeypatch.setattr("console.sign_in.PENDING_SECONDS", -1)
    assert client.get("/login/second/")["Location"] == "/login/"
    monkeypatch.undo()
    assert client.get("/login/second/").status_code == 200
    account.owner.set_password("another horse battery staple")
    account.owner.save()
    code = {"code": pyotp.TOTP(secret).now()}
    assert client.post("/login/second/", code)["Location"] == "/login/"
    assert not _signed_in(client)


def test_codes_cannot_be_guessed_at(account: Cast) -> None:
    secret, _ = _with_app(account.owner)
    client = Client()
    client.post("/login/", _typed(account.owner))
    for _ in range(attempts.CODE_OF_PERSON.most):
        assert client.post("/login/second/", {"code": "123"}).status_code == 422
    good = {"code": pyotp.TOTP(secret).now()}
    assert client.post("/login/second/", good).status_code == 429
    assert not _signed_in(client)


def test_other_addresses_of_one_network_give_no_more_guesses(account: Cast) -> None:
    for number in range(attempts.SIGN_IN_OF_PERSON.most):
        bad = Client(REMOTE_ADDR=f"2001:db8::{number + 1}")
        assert bad.post("/login/", _typed(account.owner, "wrong")).status_code == 422
    refused = Client(REMOTE_ADDR="2001:db8::ff")
    assert refused.post("/login/", _typed(account.owner)).status_code == 429
    other = Client(REMOTE_ADDR="2001:db8:0:1::1")
    assert other.post("/login/", _typed(account.owner)).status_code == 302


def test_passwords_cannot_be_guessed_at_and_others_still_get_in(account: Cast) -> None:
    bad = Client(REMOTE_ADDR="192.0.2.66")
    for _ in range(attempts.SIGN_IN_OF_PERSON.most):
        assert bad.post("/login/", _typed(account.owner, "wrong")).status_code == 422
    refused = bad.post("/login/", _typed(account.owner))
    assert refused.status_code == 429
    assert "Try again in 15 minutes" in refused.content.decode()
    assert bad.post("/login/", _typed(account.viewer)).status_code == 302
    home = Client(REMOTE_ADDR="192.0.2.7")
    assert home.post("/login/", _typed(account.owner)).status_code == 302


def test_a_session_has_a_key_that_nobody_chose(account: Cast) -> None:
    secret, _ = _with_app(account.operator)
    for user in (account.owner, account.operator):
        client = Client()
        client.cookies[settings.SESSION_COOKIE_NAME] = "a" * 32
        client.post("/login/", _typed(user))
        first = client.cookies[settings.SESSION_COOKIE_NAME].value
        assert first != "a" * 32
        if user == account.operator:
            client.post("/login/second/", {"code": pyotp.TOTP(secret).now()})
            assert client.cookies[settings.SESSION_COOKIE_NAME].value != first
            assert not Session.objects.filter(session_key=first).exists()
        assert _signed_in(client)
        cookie = client.cookies[settings.SESSION_COOKIE_NAME]
        assert (cookie["httponly"], cookie["samesite"]) == (True, "Lax")


@pytest.mark.parametrize(
    "path",
    [
        "/login/",
        "/login/second/",
        "/login/passkey/",
        "/login/passkey/options/",
        "/logout/",
        "/settings/you/password/",
        "/settings/you/passkeys/",
        "/settings/you/sessions/end/",
        "/settings/members/",
        "/tokens/",
    ],
)
def test_a_post_from_another_page_is_refused(account: Cast, path: str) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(account.owner)
    assert client.post(path, _typed(account.owner)).status_code == 403


def test_a_foreign_host_gets_no_page(account: Cast) -> None:
    for path in ("/login/", "/join/x/"):
        assert Client(SERVER_NAME="evil.example").get(path).status_code == 400


@pytest.mark.parametrize(
    "target", ["https://evil.example", "//evil.example", "/\\evil.example", "javascript:x", "x"]
)
def test_no_step_leads_elsewhere(account: Cast, target: str) -> None:
    client = Client()
    assert client.post("/login/", _typed(account.viewer, next=target))["Location"] == "/"
    proof = {"password": PASSWORD, "next": target}
    assert client.post("/settings/you/prove/", proof)["Location"] == "/"
    secret, _ = _with_app(account.owner)
    other = Client()
    other.post("/login/", _typed(account.owner, next=target))
    code = {"code": pyotp.TOTP(secret).now()}
    assert other.post("/login/second/", code)["Location"] == "/"


def test_ones_sign_in_is_changed_after_a_recent_proof_only(account: Cast) -> None:
    _with_app(account.owner)
    client = Client()
    client.force_login(account.owner)
    prove = "/settings/you/prove/?next="
    assert client.get("/settings/you/authenticator/")["Location"].startswith(prove)
    for path in ("authenticator/remove/", "recovery-codes/", "passkeys/", "passkeys/1/remove/"):
        assert client.post(f"/settings/you/{path}")["Location"].startswith(prove), path
    told = client.post("/settings/you/passkeys/options/", headers={"accept": "application/json"})
    assert told.status_code == 403
    assert Authenticator.objects.filter(user=account.owner).exists()
    wrong = client.post("/settings/you/prove/", {"password": "no"})
    assert wrong.status_code == 422
    assert 'href="/audit/"' in wrong.content.decode(), "the navigation is whole on these pages too"
    client.post("/settings/you/prove/", {"password": PASSWORD})
    client.post("/settings/you/authenticator/remove/")
    assert not factors_of(account.owner).second_step
    assert not RecoveryCode.objects.filter(user=account.owner).exists()
    assert "person.authenticator_removed" in _actions(account)


def test_another_persons_passkey_and_session_are_404s(account: Cast) -> None:
    theirs = Client()
    theirs.post("/login/", _typed(account.viewer))
    key = Passkey.objects.create(
        user=account.viewer, name="theirs", credential_id=b"1", public_key=b"2"
    )
    mark = re.search(
        r"/settings/you/sessions/(\w{64})/end/", theirs.get("/settings/you/").content.decode()
    )
    assert mark
    client = Client()
    client.post("/login/", _typed(account.owner))
    assert client.post(f"/settings/you/passkeys/{key.pk}/remove/").status_code == 404
    assert client.post(f"/settings/you/sessions/{mark[1]}/end/").status_code == 404
    assert _signed_in(theirs)


def test_sessions_are_listed_and_ended_one_by_one_and_all(account: Cast) -> None:
    here = Client(REMOTE_ADDR="192.0.2.1", headers={"user-agent": CHROME})
    others = [Client(REMOTE_ADDR=f"192.0.2.{n}") for n in (2, 3, 4)]
    for client in (here, *others):
        client.post("/login/", _typed(account.owner))
    html = here.get("/settings/you/").content.decode()
    assert html.count('data-session="') == 4
    assert "Chrome on Linux" in html
    assert all(f"192.0.2.{n}" in html for n in (1, 2, 3, 4))
    assert all(str(client.session.session_key) not in html for client in (here, *others))
    row = re.search(r"192\.0\.2\.3.*?sessions/(\w{64})/end/", html, re.DOTALL)
    assert row
    here.post(f"/settings/you/sessions/{row[1]}/end/")
    assert [_signed_in(client) for client in others] == [True, False, True]
    here.post("/settings/you/sessions/end/")
    assert [_signed_in(client) for client in others] == [False, False, False]
    assert _signed_in(here)
    assert _actions(account).count("person.session_ended") == 3
    here.post("/logout/")
    assert not SignedInSession.objects.filter(
        user=account.owner, session_key__in=Session.objects.values("session_key")
    ).exists()


def test_another_password_ends_all_other_sessions(account: Cast) -> None:
    here, there = Client(), Client()
    for client in (here, there):
        client.post("/login/", _typed(account.owner))
    weak = {"old": PASSWORD, "new": "password12"}
    assert "too common" in here.post("/settings/you/password/", weak, follow=True).content.decode()
    wrong = {"old": "no", "new": "a whole new battery staple"}
    here.post("/settings/you/password/", wrong)
    assert _signed_in(there)
    here.post("/settings/you/password/", {"old": PASSWORD, "new": "a whole new battery staple"})
    assert _signed_in(here)
    assert not _signed_in(there)
    html = here.get("/settings/you/").content.decode()
    assert html.count('data-session="') == 1
    assert "this one" in html
    account.owner.refresh_from_db()
    assert account.owner.password.startswith("argon2")


@pytest.mark.parametrize("answer", ["", "x", "[]", "{}", '{"rawId": "AA"}', "x" * 30_000])
def test_a_passkey_that_is_none_signs_nobody_in(account: Cast, answer: str) -> None:
    client = Client(SERVER_NAME="localhost")
    assert client.post("/login/passkey/options/").json()["challenge"]
    told = client.post("/login/passkey/", {"answer": answer})
    assert told.status_code == 422
    assert "not accepted" in told.json()["message"]
    assert not _signed_in(client)


def test_an_address_is_no_name_for_a_passkey(db: None) -> None:
    told = Client(SERVER_NAME="127.0.0.1").post("/login/passkey/options/")
    assert told.status_code == 422
    assert "name" in told.json()["message"]


def test_a_code_of_a_neighbouring_step_is_good_and_older_ones_are_not(account: Cast) -> None:
    secret = fresh_secret()
    totp = pyotp.TOTP(secret)
    step = int(time.time()) // factors.STEP_SECONDS
    assert factors._step_of(secret, totp.generate_otp(step - 3), after=0) is None
    assert factors._step_of(secret, totp.generate_otp(step), after=0) == step
    assert factors._step_of(secret, totp.generate_otp(step), after=step) is None


@pytest.mark.parametrize(
    ("agent", "words"),
    [
        (CHROME, "Chrome on Linux"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18) Version/18 Safari/604", "Safari on iPhone"),
        ("Mozilla/5.0 (Windows NT 10.0) Chrome/1 Safari/1 Edg/1", "Edge on Windows"),
        ("curl/8.0", "curl"),
        ("", "Unknown device"),
    ],
)
def test_devices_have_names(agent: str, words: str) -> None:
    assert device_of(agent) == words


def _virtual_authenticator(page: Page) -> None:
    """A security key with a screen lock, which Chromium plays itself."""
    session = page.context.new_cdp_session(page)
    session.send("WebAuthn.enable")
    options: dict[str, Any] = {
        "protocol": "ctap2",
        "transport": "internal",
        "hasResidentKey": True,
        "hasUserVerification": True,
        "isUserVerified": True,
        "automaticPresenceSimulation": True,
    }
    session.send("WebAuthn.addVirtualAuthenticator", {"options": options})


def test_an_app_a_passkey_and_a_revoked_session_in_a_browser(
    page: Page, account: Cast, stack: Stack
) -> None:
    owner = account.owner
    complaints = watched(page)
    page.goto(f"http://localhost:{urlsplit(stack.url).port}/login/")
    base = f"http://localhost:{urlsplit(stack.url).port}"
    expect(page.get_by_role("button", name="Use a passkey")).to_be_visible()
    shot(page, "login")
    page.get_by_label("E-mail").fill(owner.email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    page.goto(f"{base}/settings/you/")

    page.get_by_role("link", name="Set up an authenticator app").click()
    shot(page, "authenticator")
    secret = page.locator("#authenticator-secret").inner_text().replace(" ", "")
    page.get_by_label("Code").fill(pyotp.TOTP(secret).now())
    page.get_by_role("button", name="Switch it on").click()
    codes = page.locator("#recovery-codes").inner_text().split()
    assert len(codes) == factors.RECOVERY_CODES
    shot(page, "recovery-codes")
    page.get_by_role("link", name="I have kept them").click()

    _virtual_authenticator(page)
    page.get_by_role("button", name="Add a passkey").click()
    page.get_by_label("Name").fill("This laptop")
    page.get_by_role("button", name="Go on").click()
    expect(page.get_by_text("The passkey This laptop is ready.")).to_be_visible()
    shot(page, "you")
    page.get_by_role("button", name="Sign out").click()

    page.get_by_label("E-mail").fill(owner.email)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in", exact=True).click()
    expect(page.get_by_role("heading", name="One more step")).to_be_visible()
    shot(page, "second-step")
    page.get_by_label("Code").fill(codes[0])
    page.get_by_role("button", name="Go on").click()
    page.wait_for_url(f"{base}/")
    page.get_by_role("button", name="Sign out").click()
    page.get_by_role("button", name="Use a passkey").click()
    page.wait_for_url(f"{base}/")
    used = Passkey.objects.get(user=owner)
    assert used.last_used_at is not None
    assert used.sign_count > 0

    cookies = page.context.cookies()
    cookie = "; ".join(f"{one.get('name')}={one.get('value')}" for one in cookies)
    opened = ExitStack()
    socket = opened.enter_context(
        connect(
            f"{base}/ws/sandboxes/".replace("http", "ws", 1),
            additional_headers={"Cookie": cookie},
            origin=Origin(base),
        )
    )
    assert socket.recv(timeout=30)
    with page.context.browser.new_context(base_url=base) as other:  # type: ignore[union-attr]
        elsewhere = other.new_page()
        sign_in(elsewhere, account.viewer)
        elsewhere.goto("/settings/you/")
        expect(elsewhere.locator("[data-session]")).to_have_count(1)
    page.goto(f"{base}/settings/you/")
    expect(page.locator("[data-session]")).to_have_count(1)
    page.get_by_role("button", name="End this session").click()
    page.wait_for_url(f"{base}/login/")
    began = time.monotonic()
    with pytest.raises(ConnectionClosed) as closed:
        while True:
            socket.recv(timeout=30)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == 4401
    assert time.monotonic() - began < 10
    opened.close()
    assert complaints == []


def test_pages_of_ones_sign_in_fit_a_phone(page: Page, account: Cast) -> None:
    page.set_viewport_size({"width": 390, "height": 844})
    sign_in(page, account.owner, to="/settings/you/")
    Passkey.objects.create(
        user=account.owner, name="A very long name " * 5, credential_id=b"phone", public_key=b"2"
    )
    page.reload()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shot(page, "you-phone")
    page.goto("/settings/you/authenticator/")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shot(page, "authenticator-phone")
