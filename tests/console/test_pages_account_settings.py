"""Settings of the account: how long timelines are kept, and the default allowlist."""

from __future__ import annotations

from datetime import timedelta

from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts.models import Account, AuditEntry, Plan
from sandboxes.limits import SandboxRequest
from sandboxes.models import Sandbox, Status
from sandboxes.notes import event_pin, note_add
from sandboxes.reserving import sandbox_reserve
from sandboxes.retention import retention_apply
from sandboxes.selectors import limits_of
from tests.cast import Cast
from tests.console.pages import shot, sign_in, watched
from timeline.events import SYSTEM, Kind, NewEvent
from timeline.services import events_append


def _as(user: object) -> Client:
    client = Client()
    client.force_login(user)  # type: ignore[arg-type]
    return client


def _entry(account: Cast, action: str) -> AuditEntry:
    return AuditEntry.objects.get(account=account.account, action=action)


def test_an_owner_is_told_what_fewer_days_remove_before_they_do(page: Page, account: Cast) -> None:
    complaints = watched(page)
    ended = timezone.now() - timedelta(days=20)
    old = account.sandbox_row(status=Status.TERMINATED, ended_at=ended)
    paths = ("/pinned", "/gone")
    events = [NewEvent(Kind.FILE_DELETED, {"path": path}, SYSTEM) for path in paths]
    events_append(sandbox_id=old.id, events=events)
    event_pin(principal=account.principal(), sandbox_id=old.id, seq=1)
    note_add(principal=account.principal(), sandbox_id=old.id, text="Look at this")

    sign_in(page, account.owner, to="/settings/account/")
    expect(page.get_by_text("Now everything is kept of runs")).to_be_visible()
    shot(page, "account")
    page.get_by_label("Days to keep a timeline").fill("7")
    page.get_by_role("button", name="Change").click()
    expect(page.get_by_role("alert")).to_contain_text("removes the timeline of 1 run that ended")
    shot(page, "account-removes")
    assert Account.objects.get(id=account.account.id).timeline_days == 30
    page.get_by_role("link", name="Cancel").click()
    page.get_by_label("Days to keep a timeline").fill("7")
    page.get_by_role("button", name="Change").click()
    page.get_by_role("button", name="Keep 7 days").click()
    expect(page.get_by_text("Timelines are kept for 7 days")).to_be_visible()
    entry = _entry(account, "account.retention_changed")
    assert (entry.before, entry.after) == ({"timeline_days": 30}, {"timeline_days": 7})

    retention_apply(now=timezone.now())
    page.goto(f"/sandboxes/{old.id}/")
    expect(page.get_by_text("The timeline of this run was removed")).to_be_visible()
    expect(page.locator(".tl-rows")).to_contain_text("/pinned")
    expect(page.locator(".tl-rows")).not_to_contain_text("/gone")
    expect(page.get_by_text("Look at this").first).to_be_visible()
    shot(page, "timeline-removed")

    page.goto("/settings/account/")
    page.get_by_label("This account's own").check()
    page.get_by_label("Domains of this account").fill("https://not a name")
    page.get_by_role("button", name="Save the allowlist").click()
    expect(page.locator(".wrong")).to_contain_text("bare host names")
    page.get_by_label("Domains of this account").fill("b.example.org\nA.example.org")
    page.get_by_role("button", name="Save the allowlist").click()
    expect(page.get_by_text("holds for sandboxes made from now on").first).to_be_visible()
    expect(page.get_by_label("Domains of this account")).to_have_value(
        "a.example.org\nb.example.org"
    )
    page.set_viewport_size({"width": 390, "height": 844})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    shot(page, "account-phone")
    assert _entry(account, "account.domains_changed").after == {
        "default_domains": ["a.example.org", "b.example.org"]
    }
    assert [one for one in complaints if "422" not in one] == []


def _made(account: Cast, **wanted: object) -> Sandbox:
    request = SandboxRequest(template="debian-12", **wanted)  # type: ignore[arg-type]
    return sandbox_reserve(principal=account.principal(), request=request)[0]


def test_an_own_default_holds_for_restricted_sandboxes_that_name_no_domains(
    account: Cast,
) -> None:
    form = {"of": "account", "domains": "a.example.org"}
    assert _as(account.owner).post("/settings/account/domains/", form).status_code == 302
    assert _made(account, network="restricted").allow_domains == ["a.example.org"]
    named = _made(account, network="restricted", allow_domains=["c.example.org"])
    assert named.allow_domains == ["c.example.org"]
    assert _made(account, network="off").allow_domains is None
    assert limits_of(account.account.id).egress_domains == ["a.example.org"]
    _as(account.owner).post("/settings/account/domains/", {"of": "account", "domains": ""})
    assert _made(account, network="restricted").allow_domains == []
    _as(account.owner).post("/settings/account/domains/", {"of": "installation"})
    assert _made(account, network="restricted").allow_domains is None


def test_a_plan_without_own_lists_has_the_installation_s(account: Cast) -> None:
    Account.objects.filter(id=account.account.id).update(default_domains=["a.example.org"])
    Plan.objects.filter(accounts=account.account).update(custom_egress_allowlist=False)
    form = {"of": "account", "domains": "a.example.org"}
    answer = _as(account.owner).post("/settings/account/domains/", form)
    assert answer.status_code == 422
    assert _made(account, network="restricted").allow_domains is None
    page = _as(account.owner).get("/settings/account/").content.decode()
    assert "has the installation&#x27;s list only" in page or "installation's list only" in page


def test_who_may_not_change_them_reads_them(account: Cast) -> None:
    for user in (account.operator, account.viewer):
        page = _as(user).get("/settings/account/").content.decode()
        assert "Timelines are kept for <b>30 days</b>" in page
        assert "Save the allowlist" not in page
        for path in ("retention", "domains"):
            assert _as(user).post(f"/settings/account/{path}/", {"days": "1"}).status_code == 403
    for days in ("0", "3651", "", "many"):
        answer = _as(account.owner).post("/settings/account/retention/", {"days": days})
        assert answer.status_code == 422
