"""Django's admin: for staff alone, with every change on the audit record and nothing secret."""

from __future__ import annotations

import re
from io import StringIO

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from playwright.sync_api import Page

from accounts.catalogue import catalogue_install
from accounts.factors import factors_of
from accounts.models import Account, AuditEntry, Passkey, Plan, Size, User
from sandboxes.models import AllowedDomain
from tests.cast import PASSWORD, Cast
from tests.console.pages import shot, sign_in, watched

PAGES = ("plan", "size", "account", "user", "auditentry")


@pytest.fixture
def staff(account: Cast) -> User:
    """Somebody who looks after the installation, and is an owner of an account as well."""
    account.owner.is_staff = True
    account.owner.save(update_fields=["is_staff"])
    return account.owner


@pytest.fixture
def client(staff: User) -> Client:
    client = Client(REMOTE_ADDR="192.0.2.7")
    client.force_login(staff)
    return client


def _form(client: Client, path: str) -> dict[str, str | list[str]]:
    """What a browser would send of the form of a row as it is."""
    form = client.get(path).context["adminform"].form
    fields: dict[str, str | list[str]] = {}
    for bound in form:
        value = bound.value()
        if isinstance(value, bool):
            fields |= {bound.html_name: "on"} if value else {}
        elif isinstance(value, list | tuple) and "ports" not in bound.html_name:
            fields[bound.html_name] = [str(getattr(one, "pk", one)) for one in value]
        elif value is not None:
            prepared = bound.field.prepare_value(value)
            fields[bound.html_name] = str(prepared)
    return fields


@pytest.mark.parametrize("path", ["/admin/", "/admin/accounts/plan/", "/admin/login/"])
def test_only_staff_get_in_by_the_consoles_own_sign_in(account: Cast, path: str) -> None:
    answer = Client().get(path)
    assert answer.status_code == 302
    assert answer["Location"].startswith(("/login/?next=", "/admin/login/?next="))
    assert Client().get("/admin/login/?next=/admin/")["Location"] == "/login/?next=/admin/"
    outsider = Client()
    outsider.force_login(account.owner)
    assert outsider.get(path, follow=True).status_code == 403


def test_somebody_switched_off_is_out(client: Client, staff: User) -> None:
    assert client.get("/admin/").status_code == 200
    staff.is_active = False
    staff.save(update_fields=["is_active"])
    assert client.get("/admin/").status_code == 302


def test_a_plan_is_edited_and_recorded_before_and_after(client: Client) -> None:
    catalogue_install()
    path = "/admin/accounts/plan/payg/change/"
    typed = _form(client, path) | {
        "max_concurrent": "33",
        "networks": ["off"],
        "sizes": ["small"],
        "trial_credit_eur": "12.50",
    }
    assert client.post(path, typed)["Location"] == "/admin/accounts/plan/"
    plan = Plan.objects.get(name="payg")
    assert (plan.max_concurrent, plan.networks) == (33, ["off"])
    entry = AuditEntry.objects.get(action="staff.changed")
    assert (entry.account, entry.target, entry.address) == (None, "plan payg", "192.0.2.7")
    assert entry.actor["name"] == "Owner"
    assert entry.before["max_concurrent"] == 20
    assert entry.after == {
        "max_concurrent": 33,
        "networks": ["off"],
        "sizes": ["small"],
        "trial_credit_eur": "12.5",
    }
    assert sorted(entry.before["sizes"]) == ["large", "medium", "small"]


def test_a_price_is_edited_and_a_size_added_and_deleted(client: Client) -> None:
    catalogue_install()
    path = "/admin/accounts/size/small/change/"
    client.post(path, _form(client, path) | {"eur_per_cpu_hour": "0.05"})
    changed = AuditEntry.objects.get(action="staff.changed")
    assert (changed.before, changed.after) == (
        {"eur_per_cpu_hour": "0.045"},
        {"eur_per_cpu_hour": "0.05"},
    )
    fields = {"cpu": "1", "memory_mb": "512", "disk_mb": "512", "pids": "64", "name": "tiny"}
    prices = {"eur_per_cpu_hour": "0.01", "eur_per_gb_hour": "0.01"}
    client.post("/admin/accounts/size/add/", fields | prices)
    assert Size.objects.filter(name="tiny").exists()
    client.post("/admin/accounts/size/tiny/delete/", {"post": "yes"})
    added, deleted = AuditEntry.objects.filter(target="size tiny").order_by("id")
    assert (added.action, added.after["memory_mb"]) == ("staff.added", 512)
    assert (deleted.action, deleted.before["memory_mb"]) == ("staff.deleted", 512)


def test_an_accounts_plan_is_on_that_accounts_own_record(client: Client, account: Cast) -> None:
    path = f"/admin/accounts/account/{account.account.id}/change/"
    client.post(path, _form(client, path) | {"plan": "payg"})
    assert Account.objects.get(id=account.account.id).plan_id == "payg"
    entry = AuditEntry.objects.get(action="staff.changed")
    assert entry.account_id == account.account.id
    assert (entry.before["plan"], entry.after["plan"]) == ("enterprise", "payg")


def test_the_allowlist_takes_bare_names_in_one_spelling(client: Client) -> None:
    add = "/admin/sandboxes/alloweddomain/add/"
    typed = {"domain": "API.Example.org", "enabled": "on", "ports": "443", "http_ports": ""}
    client.post(add, typed)
    assert AllowedDomain.objects.filter(domain="api.example.org", enabled=True).exists()
    bad = client.post(add, typed | {"domain": "https://x/"})
    assert bad.status_code == 200
    assert "bare host names" in bad.content.decode()
    path = "/admin/sandboxes/alloweddomain/api.example.org/change/"
    client.post(path, {"ports": "443", "http_ports": ""})
    entry = AuditEntry.objects.get(action="staff.changed")
    assert (entry.before, entry.after) == ({"enabled": True}, {"enabled": False})


@pytest.mark.parametrize("by", ["admin", "command"])
def test_a_lost_second_step_is_taken_away_with_all_sessions(
    client: Client, account: Cast, by: str
) -> None:
    user = account.viewer
    Passkey.objects.create(user=user, name="lost", credential_id=b"1", public_key=b"2")
    theirs = Client()
    theirs.force_login(user)
    if by == "admin":
        typed = {"action": "reset_second_step", "_selected_action": str(user.pk)}
        client.post("/admin/accounts/user/", typed)
    else:
        call_command("reset_second_step", user.email.upper(), stdout=StringIO())
        with pytest.raises(CommandError, match="Nobody signs in"):
            call_command("reset_second_step", "nobody@example.org")
    assert not factors_of(user).second_step
    assert theirs.get("/").status_code == 302
    entry = AuditEntry.objects.get(action="person.second_step_reset")
    assert (entry.account, entry.target) == (account.account, user.email)
    assert entry.actor["type"] == {"admin": "person", "command": "system"}[by]


def test_nothing_secret_is_shown_and_the_record_is_read_only(client: Client, account: Cast) -> None:
    minted = account.mint()
    entry = AuditEntry.objects.latest("id")
    pages = [f"/admin/accounts/{name}/" for name in PAGES]
    pages += [
        f"/admin/accounts/user/{account.owner.pk}/change/",
        f"/admin/accounts/auditentry/{entry.pk}/change/",
        f"/admin/accounts/account/{account.account.id}/change/",
    ]
    for path in pages:
        html = client.get(path).content.decode()
        assert "argon2" not in html, path
        assert minted.text not in html, path
        assert minted.token.digest not in html, path
    record = f"/admin/accounts/auditentry/{entry.pk}/"
    assert client.post(f"{record}change/", {"action": "x"}).status_code == 403
    assert client.post(f"{record}delete/", {"post": "yes"}).status_code == 403
    assert client.get("/admin/accounts/auditentry/add/").status_code == 403
    for model in ("token", "membership", "passkey", "authenticator", "invitation"):
        assert client.get(f"/admin/accounts/{model}/").status_code == 404


def test_the_admin_in_a_browser_keeps_the_consoles_policy(page: Page, account: Cast) -> None:
    account.owner.is_staff = True
    account.owner.save(update_fields=["is_staff"])
    complaints = watched(page)
    page.set_viewport_size({"width": 1280, "height": 900})
    sign_in(page, account.owner, to="/admin/")
    shot(page, "admin")
    page.goto("/admin/accounts/plan/free/change/")
    assert re.match(r"Change plan", page.get_by_role("heading", level=1).inner_text())
    page.get_by_role("link", name=re.compile("Choose all")).or_(
        page.get_by_role("button", name=re.compile("Choose all"))
    ).first.wait_for()
    shot(page, "admin-plan")
    page.set_viewport_size({"width": 390, "height": 844})
    shot(page, "admin-plan-phone")
    assert complaints == []
    assert PASSWORD not in page.content()
