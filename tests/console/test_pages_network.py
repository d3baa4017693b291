"""The Network tab in a real browser: what was reached, what was not, and opening it further."""

from __future__ import annotations

from typing import Any

from django.db import connection
from django.test.utils import CaptureQueriesContext
from orkestr import Sandbox
from orkestr._client import OrkestrClient
from playwright.sync_api import Locator, Page, expect

from accounts.models import AuditEntry, Plan, User
from tests.cast import Cast
from tests.console.pages import sign_in, watched
from timeline.events import NewEvent
from timeline.selectors import reached_hosts
from timeline.services import events_append


def open_network(page: Page, user: User, sandbox: Sandbox) -> Locator:
    sign_in(page, user, to=f"/sandboxes/{sandbox.id}/")
    page.goto(f"/sandboxes/{sandbox.id}/network/")
    expect(page.locator(".box-tabs [aria-current]")).to_have_text("Network")
    return page.locator("#hosts")


def connected(host: str, **data: Any) -> NewEvent:
    return NewEvent("network.allowed", {"host": host, "port": 443, **data})


def test_a_denied_domain_is_allowed_while_the_sandbox_runs(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(
        template="debian-12",
        network="restricted",
        allow_domains=["own.example.org"],
        client=sandbox_client,
    )
    complaints = watched(page)
    hosts = open_network(page, account.operator, sandbox)
    expect(hosts.get_by_role("heading", name="No connections yet")).to_be_visible()
    refused = sandbox.exec("curl -sS https://api.other.example.org/")
    assert "403" in refused.stderr
    row = hosts.locator("tr[data-verdict='denied']")
    expect(row).to_contain_text("api.other.example.org:443")
    expect(row).to_contain_text("not on this sandbox's allowlist")
    allow = row.get_by_role("button", name="Allow api.other.example.org")
    allow.focus()
    events_append(sandbox_id=sandbox.id, events=[connected("own.example.org")])
    expect(hosts.locator("tr[data-verdict='allowed']")).to_be_visible()
    expect(allow).to_be_focused()  # though the table was drawn anew
    page.keyboard.press("Enter")
    asked = page.get_by_role("dialog", name="Allow api.other.example.org and all below it")
    asked.get_by_role("button", name="Allow").click()
    expect(page.locator(".notice")).to_contain_text("can be reached from now on")
    expect(hosts.locator("tr[data-verdict='since']")).to_contain_text("allowed since")
    expect(hosts.locator(".tag[data-added]")).to_have_text("api.other.example.org")
    after = sandbox.exec("curl -sS https://api.other.example.org/")
    assert "403" not in after.stderr
    still = sandbox.exec("curl -sS https://third.example.org/")
    assert "403" in still.stderr
    entry = AuditEntry.objects.get(target=sandbox.id, action="sandbox.domain_allowed")
    assert entry.after == {"added_domains": ["api.other.example.org"]}
    page.goto(f"/sandboxes/{sandbox.id}/")
    told = page.locator(".row[data-kind='network.opened']")
    expect(told).to_contain_text("api.other.example.org")
    expect(told).to_contain_text("Operator")
    assert complaints == []


def test_what_cannot_be_allowed_is_said(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12", network="restricted", client=sandbox_client)
    hosts = open_network(page, account.operator, sandbox)
    hosts.get_by_label("Domain to allow").fill("https://example.org/x")
    hosts.get_by_role("button", name="Allow domain").click()
    expect(page.locator(".notice")).to_contain_text("bare host names")
    account.account.plan = Plan.objects.get(name="free")
    account.account.save()
    hosts.get_by_label("Domain to allow").fill("example.org")
    hosts.get_by_role("button", name="Allow domain").click()
    expect(page.locator(".notice")).to_contain_text("does not cover allowlists")
    expect(hosts.locator(".tag[data-added]")).to_have_count(0)


def test_it_is_shown_live_summed_and_inert_to_those_who_only_look(
    page: Page, account: Cast, other_account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12", network="restricted", client=sandbox_client)
    complaints = watched(page)
    hosts = open_network(page, account.viewer, sandbox)
    twice = [connected("example.org", bytes_up=1024, bytes_down=2048) for _ in range(2)]
    evil = {"host": "<b>\u202e", "port": 443, "detail": "<i>no</i>", "allow": "x.example.org"}
    rest = connected("", left_out=40, bytes_up=1)
    events_append(sandbox_id=sandbox.id, events=[*twice, rest, NewEvent("network.denied", evil)])
    reached = hosts.locator("tr[data-verdict='allowed']").filter(has_text="example.org")
    expect(reached.locator("td").nth(2)).to_have_text("2")
    expect(reached.locator("td").nth(4)).to_have_text("4.0 KB")
    expect(hosts.locator(".count dd").nth(1)).to_have_text("42")
    expect(hosts.locator("tr[data-verdict='denied'] code")).to_have_text("<b>⟨U+202E⟩:443")
    expect(hosts.get_by_role("button")).to_have_count(0)
    with CaptureQueriesContext(connection) as queries:
        assert len(reached_hosts(sandbox_id=sandbox.id)) == 3
    assert len(queries) == 1
    csrf = next(c["value"] for c in page.context.cookies() if c["name"] == "orkestr_csrf")
    address = f"/sandboxes/{sandbox.id}/network/"
    form: dict[str, str | float | bool] = {"domain": "a.example", "csrfmiddlewaretoken": csrf}
    assert page.request.post(f"{address}allow/", form=form).status == 403
    page.context.clear_cookies()
    sign_in(page, other_account.owner)
    csrf = next(c["value"] for c in page.context.cookies() if c["name"] == "orkestr_csrf")
    form["csrfmiddlewaretoken"] = csrf
    assert page.request.get(address).status == 404
    assert page.request.post(f"{address}allow/", form=form).status == 404
    assert complaints == []
