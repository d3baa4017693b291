"""Members and roles: who may change what, invitations, and that a change holds at once."""

from __future__ import annotations

import re
from contextlib import ExitStack
from datetime import timedelta

import pytest
from django.core import mail
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page, expect
from pytest_django import Settings
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Origin

from accounts import attempts
from accounts.members import invitation_create
from accounts.models import AuditEntry, Invitation, Membership, Role, User
from tests.cast import PASSWORD, Cast
from tests.console.pages import shot, sign_in, watched
from tests.stack import Stack

NEW = "new@example.org"


def _as(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def _invite(account: Cast, *, email: str = NEW, role: str = Role.OPERATOR) -> str:
    """The path of the link."""
    made = invitation_create(principal=account.principal(), email=email, role=role)
    return f"/join/{made.text}/"


def _role(account: Cast, user: User) -> str | None:
    found = Membership.objects.filter(account=account.account, user=user).first()
    return found.role if found else None


def _acts(account: Cast, area: str = "member.") -> list[str]:
    rows = AuditEntry.objects.filter(account=account.account, action__startswith=area)
    return list(rows.order_by("id").values_list("action", flat=True))


def test_an_owner_invites_and_somebody_new_joins(account: Cast, settings: Settings) -> None:
    settings.ORKESTR_EMAIL_URL = "smtp://mail.example"
    settings.EMAIL_BACKEND = "django.core.mail.backends.locmem.EmailBackend"
    settings.ORKESTR_BASE_URL = "https://console.example.org"
    owner = _as(account.owner)
    typed = {"email": " New@Example.org", "role": "viewer"}
    html = owner.post("/settings/members/", typed, HTTP_HOST="localhost").content.decode()
    link = re.search(r'id="invitation-link">https://console\.example\.org(/join/[^<]+)<', html)
    assert link, "whatever the request called the host"
    (sent,) = mail.outbox
    assert sent.to == [NEW]
    assert f"https://console.example.org{link[1]}" in sent.body
    assert link[1] not in owner.get("/settings/members/").content.decode(), "shown once"
    assert link[1].split("/")[2] not in str(list(Invitation.objects.values()))

    person = Client()
    assert "as viewer" in person.get(link[1]).content.decode()
    weak = person.post(link[1], {"name": "New", "password": "short"})
    assert weak.status_code == 422
    assert not User.objects.filter(email=NEW).exists()
    joined = person.post(link[1], {"name": "New Person", "password": PASSWORD})
    assert joined["Location"] == "/"
    assert person.get("/").status_code == 200
    assert _role(account, User.objects.get(email=NEW)) == "viewer"
    assert Client().get(link[1]).status_code == 404, "good once"
    assert _acts(account) == ["member.invited", "member.joined"]


def test_without_a_mail_server_the_page_says_to_hand_the_link_over(account: Cast) -> None:
    html = _as(account.owner).post("/settings/members/", {"email": NEW, "role": "viewer"})
    assert "sends no mail" in html.content.decode()


def test_somebody_known_joins_as_themselves_and_changes_between_accounts(
    account: Cast, other_account: Cast
) -> None:
    path = _invite(account, email=other_account.viewer.email)
    assert "Sign in to accept" in Client().get(path).content.decode()
    stranger = _as(other_account.owner)
    assert "This invitation is for" in stranger.get(path).content.decode()
    assert stranger.post(path).status_code == 422
    anonymous = Client().post(path, {"name": "x", "password": PASSWORD})
    assert anonymous.status_code == 422, "no new person under a known address"
    client = _as(other_account.viewer)
    assert client.post(path)["Location"] == "/"
    mine = account.account.name
    assert mine in client.get("/settings/members/").content.decode()
    client.post("/settings/you/account/", {"account": other_account.account.id})
    assert mine not in client.get("/settings/members/").content.decode()
    foreign = {"account": "acc_nothing"}
    assert client.post("/settings/you/account/", foreign).status_code == 404


@pytest.mark.parametrize("how", ["expired", "withdrawn", "replaced", "unknown"])
def test_an_invitation_that_is_over_opens_nothing(account: Cast, how: str) -> None:
    path = _invite(account)
    if how == "expired":
        Invitation.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    elif how == "withdrawn":
        row = Invitation.objects.get()
        _as(account.owner).post(f"/settings/invitations/{row.pk}/withdraw/")
    elif how == "replaced":
        _invite(account)
    else:
        path = "/join/nothing/"
    assert Client().get(path).status_code == 404
    answer = Client().post(path, {"name": "New", "password": PASSWORD})
    assert answer.status_code == 404
    assert not User.objects.filter(email=NEW).exists()


def test_links_cannot_be_guessed_at_and_invitations_are_bounded(account: Cast) -> None:
    bad = Client(REMOTE_ADDR="192.0.2.66")
    for number in range(attempts.ACCEPT_OF_ADDRESS.most):
        assert bad.get(f"/join/{number}/").status_code == 404
    assert bad.get("/join/x/").status_code == 429
    owner = _as(account.owner)
    for number in range(attempts.INVITE_OF_ACCOUNT.most):
        _invite(account, email=f"n{number}@example.org")
    answer = owner.post("/settings/members/", {"email": NEW, "role": "viewer"})
    assert answer.status_code == 429


@pytest.mark.parametrize("email", ["", "x", "x@", "a\n@b.example"])
def test_an_invitation_needs_an_address_and_a_role(account: Cast, email: str) -> None:
    owner = _as(account.owner)
    assert owner.post("/settings/members/", {"email": email, "role": "viewer"}).status_code == 422
    bad = {"email": NEW, "role": "root"}
    assert owner.post("/settings/members/", bad).status_code == 422
    member = {"email": account.viewer.email, "role": "viewer"}
    assert owner.post("/settings/members/", member).status_code == 422
    assert not Invitation.objects.exists()


def test_only_an_owner_manages_members(account: Cast, other_account: Cast) -> None:
    row = invitation_create(principal=account.principal(), email=NEW, role="viewer").invitation
    target = account.viewer.pk
    acts = [
        ("/settings/members/", {"email": "x@example.org", "role": "owner"}),
        (f"/settings/members/{target}/role/", {"role": "owner"}),
        (f"/settings/members/{target}/remove/", {}),
        (f"/settings/invitations/{row.pk}/withdraw/", {}),
    ]
    operator = _as(account.operator)
    assert operator.get("/settings/members/").status_code == 200
    assert "Invite somebody" not in operator.get("/settings/members/").content.decode()
    for path, typed in acts:
        assert operator.post(path, typed).status_code == 403, path
    foreign = _as(other_account.owner)
    for path, typed in acts[1:]:
        assert foreign.post(path, typed).status_code == 404, path
    assert _role(account, account.viewer) == "viewer"


def test_the_last_owner_stays(account: Cast) -> None:
    client = _as(account.owner)
    path = f"/settings/members/{account.owner.pk}"
    assert (
        "needs an owner"
        in client.post(f"{path}/role/", {"role": "viewer"}, follow=True).content.decode()
    )
    client.post(f"{path}/remove/")
    assert _role(account, account.owner) == "owner"
    client.post(f"/settings/members/{account.operator.pk}/role/", {"role": "owner"})
    client.post(f"{path}/remove/")
    assert _role(account, account.owner) is None
    assert client.get("/").status_code == 403
    assert client.get("/settings/you/").status_code == 200
    entry = AuditEntry.objects.get(action="member.role_changed")
    assert (entry.before, entry.after) == ({"role": "operator"}, {"role": "owner"})


def test_a_removed_members_tokens_go_when_wanted(account: Cast) -> None:
    from accounts.services import token_mint

    minted = token_mint(
        principal=account.principal(account.operator), name="x", scopes=["sandboxes:read"]
    )
    client = _as(account.owner)
    client.post(f"/settings/members/{account.operator.pk}/remove/", {"tokens": "on"})
    minted.token.refresh_from_db()
    assert minted.token.revoked_at is not None
    assert _acts(account) == ["member.removed"]
    assert _acts(account, "token.revoked") == ["token.revoked"]


def test_a_role_and_a_removal_hold_at_once_where_somebody_is_connected(
    page: Page, account: Cast, stack: Stack
) -> None:
    complaints = watched(page)
    context = page.context.browser.new_context(base_url=stack.url)  # type: ignore[union-attr]
    theirs = context.new_page()
    sign_in(theirs, account.operator)
    cookie = "; ".join(f"{one.get('name')}={one.get('value')}" for one in context.cookies())
    opened = ExitStack()
    socket = opened.enter_context(
        connect(
            f"{stack.url}/ws/sandboxes/".replace("http", "ws", 1),
            additional_headers={"Cookie": cookie},
            origin=Origin(stack.url),
        )
    )
    socket.recv(timeout=30)

    page.set_viewport_size({"width": 1280, "height": 900})
    sign_in(page, account.owner, to="/settings/members/")
    page.get_by_role("button", name="Invite somebody").click()
    page.get_by_label("E-mail").fill("nobody@example.org")
    page.get_by_role("button", name="Invite", exact=True).click()
    expect(page.locator("#invitation-link")).to_contain_text("/join/")
    shot(page, "members")
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shot(page, "members-phone")
    page.goto("/settings/members/")
    page.get_by_label("Role of Operator").select_option("viewer")
    expect(page.get_by_text("Operator is now viewer.")).to_be_visible()
    theirs.goto("/sandboxes/new/")
    expect(theirs.get_by_text("Your role in this account (viewer)")).to_be_visible()
    page.get_by_role("button", name="Remove Operator").click()
    shot(page, "members-remove")
    page.get_by_role("button", name="Remove member").click()
    expect(page.get_by_text("Operator is no longer a member.")).to_be_visible()
    with pytest.raises(ConnectionClosed):
        while True:
            socket.recv(timeout=30)
    theirs.goto("/")
    expect(theirs.get_by_text("not a member of any account")).to_be_visible()
    opened.close()
    context.close()
    assert complaints == []


def test_an_invitation_is_accepted_in_a_browser(page: Page, account: Cast) -> None:
    path = _invite(account, email=f"{account.account.id.lower()}@example.org")
    page.goto(path)
    shot(page, "join")
    page.get_by_label("Your name").fill("Ada")
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Join", exact=True).click()
    page.wait_for_url("**/")
    expect(page.get_by_text(f"Welcome to {account.account.name}.")).to_be_visible()
