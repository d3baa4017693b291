"""Who may see and do what, and what every page promises a browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.conf import settings
from django.template.loader import render_to_string
from django.test import Client
from django.urls import reverse
from pytest_django import DjangoAssertNumQueries

from accounts.models import AuditEntry, Token, User
from console.tabs import SETTINGS
from sandboxes.models import Sandbox, Status
from tests.cast import PASSWORD, Cast
from timeline.events import Kind, NewEvent
from timeline.render import _OUTPUTS
from timeline.services import events_append

PAGES = ("/", "/sandboxes/", "/tokens/", "/settings/masking/", "/docs/")


@pytest.fixture
def sandbox(account: Cast) -> Sandbox:
    """An ended one with a short timeline."""
    row = account.sandbox_row(status=Status.TERMINATED, ended_at=account.account.created_at)
    events_append(sandbox_id=row.id, events=[NewEvent(kind) for kind in Kind])
    return row


def _as(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.mark.parametrize("path", [*PAGES, "/sandboxes/new/", "/sandboxes/sbx_x/"])
def test_every_page_sends_strangers_to_sign_in(db: None, path: str) -> None:
    response = Client().get(path)
    assert response.status_code == 302
    assert response["Location"] == f"/login/?next={path}"


def test_a_scripts_request_is_told_plainly(db: None) -> None:
    assert Client().get("/sandboxes/", headers={"HX-Request": "true"}).status_code == 401


def test_it_signs_in_and_out_and_keeps_a_record(account: Cast) -> None:
    client = Client()
    typed = {"email": account.owner.email.upper(), "password": PASSWORD, "next": "/tokens/"}
    assert client.post("/login/", typed)["Location"] == "/tokens/"
    assert client.get("/").status_code == 200
    client.post("/logout/")
    assert client.get("/").status_code == 302
    actions = AuditEntry.objects.filter(account=account.account).values_list("action", flat=True)
    assert "person.signed_in" in actions


@pytest.mark.parametrize("email", ["", "nobody@example.org"])
def test_a_wrong_password_and_an_unknown_address_read_the_same(account: Cast, email: str) -> None:
    typed = {"email": email or account.owner.email, "password": "not this one"}
    response = Client().post("/login/", typed)
    assert response.status_code == 422
    assert "That e-mail address and password do not go together." in response.content.decode()


@pytest.mark.parametrize("target", ["https://elsewhere.example", "//elsewhere.example", "x:y"])
def test_signing_in_never_leads_elsewhere(account: Cast, target: str) -> None:
    typed = {"email": account.owner.email, "password": PASSWORD, "next": target}
    assert Client().post("/login/", typed)["Location"] == "/"


def test_somebody_without_an_account_is_told_so(account: Cast) -> None:
    stranger = User.objects.create(email="stranger@example.org")
    response = _as(stranger).get("/")
    assert response.status_code == 403
    assert "not a member of any account" in response.content.decode()


@pytest.mark.parametrize("path", [*PAGES, "/sandboxes/{id}/", "/sandboxes/{id}/rows/"])
def test_a_viewer_reads_everything(account: Cast, sandbox: Sandbox, path: str) -> None:
    assert _as(account.viewer).get(path.format(id=sandbox.id)).status_code == 200


@pytest.mark.parametrize(
    "path",
    [
        "/sandboxes/new/",
        "/sandboxes/{id}/extend/",
        "/sandboxes/{id}/pause/",
        "/sandboxes/{id}/resume/",
        "/sandboxes/{id}/terminate/",
        "/tokens/",
    ],
)
def test_the_server_refuses_what_a_viewer_does(account: Cast, sandbox: Sandbox, path: str) -> None:
    typed = {"timeout_seconds": "60", "name": "mine", "scopes": "sandboxes:read"}
    response = _as(account.viewer).post(path.format(id=sandbox.id), typed)
    assert response.status_code == 403
    assert not Token.objects.filter(account=account.account).exists()


def test_a_viewer_is_offered_nothing_that_acts(account: Cast) -> None:
    client = _as(account.viewer)
    for path in PAGES:
        assert 'href="/sandboxes/new/"' not in client.get(path).content.decode()
    assert "Mint token" not in client.get("/tokens/").content.decode()


@pytest.mark.parametrize("path", ["", "rows/", "head/"])
def test_another_accounts_sandbox_is_a_404(
    sandbox: Sandbox, other_account: Cast, path: str
) -> None:
    client = _as(other_account.owner)
    assert client.get(f"/sandboxes/{sandbox.id}/{path}").status_code == 404
    missing = f"/sandboxes/sbx_{'0' * 26}/{path}"
    assert client.get(missing).status_code == 404


def test_another_accounts_token_cannot_be_revoked(account: Cast, other_account: Cast) -> None:
    token = account.mint().token
    response = _as(other_account.owner).post(reverse("token-end", args=[token.id]))
    assert response.status_code == 404
    token.refresh_from_db()
    assert token.revoked_at is None


@pytest.mark.parametrize("query", ["before=x", "after=-1", f"after={2**63}", "limit=1.5"])
def test_rows_refuse_what_is_no_number(account: Cast, sandbox: Sandbox, query: str) -> None:
    response = _as(account.owner).get(f"/sandboxes/{sandbox.id}/rows/?{query}")
    assert response.status_code == 400


def test_rows_come_in_pages_that_say_what_they_cover(account: Cast, sandbox: Sandbox) -> None:
    client = _as(account.owner)
    path = f"/sandboxes/{sandbox.id}/rows/"
    whole = len(Kind)
    last = client.get(f"{path}?limit=5")
    assert (last["x-from"], last["x-to"]) == (str(whole - 4), str(whole))
    older = client.get(f"{path}?limit=5&before={last['x-from']}")
    assert older["x-to"] == str(whole - 5)
    newer = client.get(f"{path}?after={whole - 2}")
    assert (newer["x-from"], newer["x-to"]) == (str(whole - 1), str(whole))
    assert re.findall(r'id="e(\d+)"', newer.content.decode()) == [str(whole - 1), str(whole)]


def test_every_kind_has_a_row_of_its_own(account: Cast, sandbox: Sandbox) -> None:
    html = _as(account.owner).get(f"/sandboxes/{sandbox.id}/").content.decode()
    assert re.findall(r'data-kind="([a-z_]+\.[a-z_]+)"', html) == [kind.value for kind in Kind]
    folder = Path(settings.BASE_DIR) / "templates" / "timeline" / "rows"
    without = {kind for kind in Kind if not (folder / f"{kind}.html").exists()}
    assert without == set(_OUTPUTS), "which timeline/render.py writes itself"


def test_an_unknown_cursor_is_a_404(account: Cast) -> None:
    assert _as(account.owner).get("/sandboxes/?cursor=nonsense").status_code == 404


@pytest.mark.parametrize("path", [*PAGES, "/sandboxes/new/", "/sandboxes/{id}/"])
def test_pages_hold_no_inline_script_or_style(account: Cast, sandbox: Sandbox, path: str) -> None:
    response = _as(account.owner).get(path.format(id=sandbox.id))
    html = response.content.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\sstyle=|\son[a-z]+=|javascript:", html)
    policy = response["Content-Security-Policy"]
    assert "unsafe" not in policy
    assert "default-src 'none'" in policy


def test_the_list_costs_the_same_queries_however_long_it_is(
    account: Cast, sandbox: Sandbox, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client = _as(account.owner)
    with django_assert_num_queries(7):
        client.get("/sandboxes/")
    sandbox.pk = f"sbx_{'1' * 26}"
    sandbox.save(force_insert=True)
    with django_assert_num_queries(7):
        client.get("/sandboxes/")


def test_an_unknown_address_keeps_the_navigation_of_who_is_signed_in(account: Cast) -> None:
    told = _as(account.viewer).get("/nowhere/")
    assert told.status_code == 404
    assert 'aria-label="Main"' in told.content.decode()
    stranger = Client().get("/nowhere/")
    assert stranger.status_code == 404
    assert 'aria-label="Main"' not in stranger.content.decode()
    assert reverse("login") in stranger.content.decode()


def test_a_stale_form_is_told_of_on_a_page_of_ours(account: Cast) -> None:
    client = Client(enforce_csrf_checks=True)
    client.force_login(account.operator)
    told = client.post("/sandboxes/new/", {"template": "debian-12"})
    assert told.status_code == 403
    assert "That form had gone stale" in told.content.decode()


@pytest.mark.parametrize("name", ["500.html", "400.html", "403_csrf.html"])
def test_what_is_shown_in_need_asks_for_nothing(name: str) -> None:
    page = render_to_string(name)
    assert "orkestr</title>" in page
    assert re.search(r"<script(?! src)|style=", page) is None


def test_settings_lead_to_their_first_part_and_to_the_others(account: Cast) -> None:
    client = _as(account.viewer)
    page = client.get("/settings/", follow=True)
    assert page.redirect_chain == [(reverse(SETTINGS[0].name), 302)]
    for part in SETTINGS:
        assert f'href="{reverse(part.name)}"' in page.content.decode()
        assert client.get(reverse(part.name)).status_code == 200
