"""The audit record: what is on it, how it is narrowed and exported, and that nothing changes it."""

from __future__ import annotations

import csv
import io
import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import InternalError, ProgrammingError, connection, transaction
from django.db.models import ProtectedError
from django.test import Client
from playwright.sync_api import Page, expect
from pytest_django import DjangoAssertNumQueries

from accounts.acts import ACTS, AREAS, said
from accounts.audit import LOOKED_AT, AuditFilter, audit_page
from accounts.models import AuditEntry, User
from accounts.origin import Origin
from accounts.policy import Principal
from accounts.services import audit_record, token_revoke
from sandboxes.allowlist import domains_switch
from sandboxes.models import Status
from sandboxes.services import sandbox_ended, sandbox_set_timeout
from tests.cast import PASSWORD, Cast
from tests.console.pages import shot, sign_in, watched
from timeline.events import Actor

_REFUSED = (InternalError, ProgrammingError)
HOME = Origin("192.0.2.7", "tests/1")


def _as(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


def _entry(principal: Principal | None, **fields: Any) -> AuditEntry:
    return audit_record(principal=principal, **{"action": "token.minted", "origin": HOME, **fields})


def _shown(client: Client, query: str = "") -> list[str]:
    """The numbers of the entries on a page."""
    html = client.get(f"/audit/?{query}").content.decode()
    return re.findall(r'id="audit-(\d+)"', html)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE accounts_auditentry SET action = 'nothing'",
        "DELETE FROM accounts_auditentry",
        "DELETE FROM accounts_auditentry WHERE false",
    ],
)
def test_the_database_refuses_to_change_an_entry(account: Cast, statement: str) -> None:
    kept = _entry(account.principal())
    with (
        pytest.raises(_REFUSED, match="only added to"),
        transaction.atomic(),
        connection.cursor() as cursor,
    ):
        cursor.execute(statement)
    kept.refresh_from_db()
    assert kept.action == "token.minted"


def test_the_record_cannot_be_emptied(account: Cast) -> None:
    _entry(account.principal())
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute("SET CONSTRAINTS ALL IMMEDIATE")
        cursor.execute("ALTER TABLE accounts_auditentry ENABLE ALWAYS TRIGGER audit_no_truncate")
        with pytest.raises(_REFUSED, match="only added to"), transaction.atomic():
            cursor.execute("TRUNCATE accounts_auditentry")
        cursor.execute("ALTER TABLE accounts_auditentry DISABLE TRIGGER audit_no_truncate")
    assert AuditEntry.objects.exists()


def test_an_account_or_a_person_that_goes_takes_no_entry_along(account: Cast) -> None:
    kept = _entry(account.principal(account.viewer))
    with pytest.raises(ProtectedError):
        account.account.delete()
    account.viewer.delete()
    kept.refresh_from_db()
    assert kept.actor["name"] == "Viewer"


def test_a_sign_in_by_the_form_is_one_entry_and_so_is_a_failed_one(account: Cast) -> None:
    client = Client(REMOTE_ADDR="192.0.2.7", headers={"user-agent": "tests/1"})
    client.post("/login/", {"email": account.owner.email, "password": "not this one"})
    client.post("/login/", {"email": account.owner.email, "password": PASSWORD})
    client.post("/logout/")
    entries = list(AuditEntry.objects.filter(account=account.account).order_by("id"))
    assert [one.action for one in entries] == [
        "person.sign_in_failed",
        "person.signed_in",
        "person.signed_out",
    ]
    assert {(one.address, one.user_agent) for one in entries} == {("192.0.2.7", "tests/1")}


def test_acts_on_sandboxes_are_recorded_whoever_does_them(account: Cast) -> None:
    row = account.sandbox_row(status=Status.RUNNING)
    sandbox_set_timeout(
        principal=account.principal(), sandbox_id=row.id, timeout_seconds=600, origin=HOME
    )
    sandbox_ended(sandbox_id=row.id, status=Status.TERMINATED, reason="expired")
    sandbox_ended(sandbox_id=row.id, status=Status.TERMINATED, reason="expired")
    lost = account.sandbox_row(status=Status.RUNNING)
    sandbox_ended(sandbox_id=lost.id, status=Status.FAILED, reason="host_lost", detail="gone")
    extended, expired, failed = AuditEntry.objects.filter(account=account.account).order_by("id")
    assert (extended.action, extended.address) == ("sandbox.timeout_changed", "192.0.2.7")
    assert extended.before["expires_at"] < extended.after["expires_at"]
    assert (expired.action, expired.actor) == (
        "sandbox.terminated",
        {"type": "policy", "name": "timeout"},
    )
    assert (expired.before, expired.after["reason"]) == ({"status": "running"}, "expired")
    assert (failed.action, failed.actor["type"]) == ("sandbox.failed", "system")
    assert failed.after["detail"] == "gone"


def test_a_changed_allowlist_is_recorded_for_the_installation(db: None) -> None:
    before = set(AuditEntry.objects.values_list("id", flat=True))
    domains_switch(on=["audit.example"])
    domains_switch(on=["audit.example"])
    domains_switch(off=["audit.example"])
    first, second = AuditEntry.objects.exclude(id__in=before).order_by("id")
    assert (first.account, first.before, first.after) == (None, {}, {"audit.example": True})
    assert (second.before, second.after) == ({"audit.example": True}, {"audit.example": False})


def test_a_revoked_tokens_entry_says_before_and_after(account: Cast) -> None:
    minted = account.mint(name="night run")
    token_revoke(principal=account.principal(), token_id=minted.token.id, origin=HOME)
    made, revoked = AuditEntry.objects.filter(target=minted.token.id).order_by("id")
    assert made.after["scopes"] == minted.token.scopes
    assert revoked.before["name"] == "night run"
    assert revoked.after["revoked_at"]
    assert minted.text not in str([made.after, revoked.before, revoked.after])


def test_the_page_is_narrowed_by_its_address(account: Cast, other_account: Cast) -> None:
    owner, viewer = account.principal(), account.principal(account.viewer)
    foreign = _entry(other_account.principal(), target="tok_foreign")
    minted = _entry(owner, target="tok_1", after={"name": "research agent"})
    held = _entry(viewer, action="sandbox.held", target="sbx_1", origin=Origin("2001:db8::7"))
    policy = audit_record(
        principal=None,
        actor=Actor("policy", name="timeout"),
        account_id=account.account.id,
        action="sandbox.paused",
        target="sbx_2",
    )
    old = AuditEntry.objects.create(
        account=account.account,
        actor=owner.actor.to_json(),
        action="token.revoked",
        target="tok_0",
        at=datetime(2026, 3, 1, 23, 30, tzinfo=UTC),
    )
    client = _as(account.operator)
    signed = str(account.account.audit_entries.get(action="person.signed_in").pk)

    def shown(query: str) -> set[str]:
        return set(_shown(client, query)) - {signed}

    def ids(*entries: AuditEntry) -> set[str]:
        return {str(one.pk) for one in entries}

    assert shown("") == ids(minted, held, policy, old)
    assert str(foreign.pk) not in shown("q=tok_foreign")
    assert shown("q=RESEARCH") == ids(minted)
    assert shown("action=sandbox") == ids(held, policy)
    assert shown("action=sandbox.held") == ids(held)
    assert shown("actor=policy") == ids(policy)
    assert shown(f"actor={account.owner.pk}") == ids(minted, old)
    assert shown("actor=view") == ids(held)
    assert shown("target=sbx_") == ids(held, policy)
    assert shown("address=192.0.2.0/24") == ids(minted)
    assert shown("address=2001:db8::7") == ids(held)
    assert shown("to=2026-03-01") == ids(old)
    assert shown("to=2026-03-01&zone=Europe/Berlin") == set()
    assert shown("from=2026-03-02&zone=Europe/Berlin&to=2026-03-02") == ids(old)
    assert shown("from=2026-13-99&zone=../../etc/passwd") == ids(minted, held, policy, old)
    assert shown("q=%00%27%22%3C&actor=%00") == set()


@pytest.mark.parametrize("cursor", ["x", "1", "1-", "-1-1", "9" * 40 + "-1", "1-" + "9" * 40])
def test_a_page_that_is_none_is_a_404(account: Cast, cursor: str) -> None:
    assert _as(account.owner).get(f"/audit/?cursor={cursor}").status_code == 404


def test_pages_hold_every_entry_once_also_of_one_moment(
    account: Cast, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    now = datetime.now(UTC)
    actor = account.principal().actor.to_json()
    entries = AuditEntry.objects.bulk_create(
        AuditEntry(
            account=account.account,
            actor=actor,
            action="token.minted",
            at=now - timedelta(seconds=number // 70),
        )
        for number in range(140)
    )
    client = _as(account.owner)
    seen: list[str] = []
    query = "action=token.minted"
    while True:
        with django_assert_max_num_queries(6):
            html = client.get(f"/audit/?{query}").content.decode()
        seen += re.findall(r'id="audit-(\d+)"', html)
        older = re.search(r'rel="next"\s+href="\?([^"]*)"', html)
        if older is None:
            break
        query = older[1].replace("&amp;", "&")
    assert sorted(seen) == sorted(str(one.pk) for one in entries)


def test_a_rare_match_is_looked_for_in_bounded_steps(
    account: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert LOOKED_AT >= 1000
    monkeypatch.setattr("accounts.audit.LOOKED_AT", 3)
    rare = _entry(account.principal(), action="device.approved")
    for _ in range(7):
        _entry(account.principal())
    narrowed = AuditFilter(action="device")
    pages, before = [], None
    while True:
        page = audit_page(account_id=account.account.id, narrowed=narrowed, before=before)
        pages.append([one.pk for one in page.entries])
        if page.older is None:
            break
        assert page.looked_until is not None
        before = page.older
    assert pages == [[], [], [rare.pk]]


def test_an_export_is_whole_and_no_spreadsheet_calculates_it(page: Page, account: Cast) -> None:
    evil = ["=HYPERLINK(1)", "+1", "-1", "@x", "\t=1", " =1", 'a"b,c\nd']
    for name in evil:
        _entry(account.principal(), target=name, after={"name": name})
    sign_in(page, account.viewer, to="/audit/")
    told = page.request.get("/audit/export/csv/?action=token.minted").text()
    rows = list(csv.DictReader(io.StringIO(told)))
    assert [row["target"] for row in rows[::-1]] == [f"'{name}" for name in evil[:-1]] + evil[-1:]
    assert json.loads(rows[0]["after"]) == {"name": evil[-1]}
    whole = page.request.get("/audit/export/jsonl/")
    assert whole.headers["content-disposition"].endswith('.jsonl"')
    lines = [json.loads(line) for line in whole.text().splitlines()]
    assert [line["target"] for line in lines if line["action"] == "token.minted"] == evil[::-1]
    noted = AuditEntry.objects.filter(account=account.account, action="audit.exported")
    noted = noted.order_by("id")
    assert [one.after["format"] for one in noted] == ["csv", "jsonl"]
    assert page.request.get("/audit/export/exe/").status == 404


def test_an_action_reads_as_words_also_where_it_has_none_of_its_own() -> None:
    assert all(action.partition(".")[0] in AREAS for action in ACTS)
    assert said("token.minted") == "Minted a token"
    assert said("budget.cap_reached") == "Budget cap reached"


def test_the_record_in_a_browser(page: Page, account: Cast) -> None:
    minted = account.mint(name="night run")
    _entry(account.principal(), action="token.revoked", target=minted.token.id)
    _entry(
        account.principal(account.operator),
        action="sandbox.timeout_changed",
        target="sbx_01J9ZK7M3N4P5Q6R7S8T9V0W1X",
        before={"expires_at": "2026-03-01T10:00:00+00:00", "note": "<img src=x onerror=alert(1)>"},
        after={"expires_at": "2026-03-01T11:00:00+00:00", "timeout_seconds": 3600},
    )
    complaints = watched(page)
    sign_in(page, account.viewer, to="/audit/")
    page.set_viewport_size({"width": 1280, "height": 900})
    row = page.locator(".audit li", has_text="Changed a timeout")
    row.locator("summary").click()
    moved = row.locator('[data-change="changed"] time')
    expect(moved.first).to_have_attribute("datetime", "2026-03-01T10:00:00+00:00")
    expect(row.locator('[data-change="added"] ins')).to_have_text("3600")
    expect(row.locator('[data-change="removed"] del')).to_contain_text("<img src=x")
    shown = row.locator("summary time")
    zone = "new Intl.DateTimeFormat(undefined,{dateStyle:'medium',timeStyle:'medium'})"
    wanted = shown.evaluate(f"e => {zone}.format(new Date(e.dateTime))")
    expect(shown).to_have_text(wanted)
    shot(page, "audit")
    page.get_by_label("Action", exact=True).select_option("token")
    expect(page).to_have_url(re.compile(r"/audit/\?action=token$"))
    expect(page.locator(".audit li")).to_have_count(2)
    page.get_by_label("Search the record").fill("nothing like it")
    expect(page.get_by_text("No entry fits these filters.")).to_be_visible()
    page.get_by_role("link", name="Clear filters").first.click()
    expect(page.locator(".audit li", has_text="Revoked a token")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="CSV").click()
    assert download.value.suggested_filename.endswith(".csv")
    page.set_viewport_size({"width": 390, "height": 844})
    page.locator(".audit li", has_text="Changed a timeout").locator("summary").click()
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shot(page, "audit-phone")
    assert complaints == []
