"""Pause and resume on a sandbox's page, in a real browser."""

from __future__ import annotations

import re

from orkestr import Sandbox
from orkestr._client import OrkestrClient
from playwright.sync_api import Page, expect

from accounts.models import AuditEntry
from tests.cast import Cast
from tests.console.pages import open_timeline, sign_in, watched


def test_an_operator_pauses_and_resumes(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12", client=sandbox_client)
    complaints = watched(page)
    open_timeline(page, account.operator, sandbox.id)
    head = page.locator("#sandbox-head")
    head.get_by_role("button", name="Pause").click()
    expect(head.locator(".pill")).to_have_text("Paused")
    expect(head).to_contain_text(re.compile(r"paused (just now|\d+ s ago)"))
    expect(head.get_by_role("button", name="Extend")).to_have_count(0)
    expect(head.get_by_role("button", name="Terminate")).to_be_visible()
    told = page.locator(".row[data-kind='sandbox.paused']")
    expect(told).to_contain_text("Operator")
    expect(told).to_contain_text("MB kept")
    assert sandbox.refresh().status == "paused"
    head.get_by_role("button", name="Resume").click()
    expect(head.locator(".pill")).to_have_text("Running")
    expect(page.locator(".row[data-kind='sandbox.resumed']")).to_contain_text("after")
    assert sandbox.exec("echo runs").stdout == "runs\n"
    assert complaints == []
    actions = AuditEntry.objects.filter(target=sandbox.id).values_list("action", flat=True)
    assert set(actions) >= {"sandbox.paused", "sandbox.resumed"}


def test_a_pause_by_somebody_else_shows_without_a_reload(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12", client=sandbox_client)
    open_timeline(page, account.viewer, sandbox.id)
    page.evaluate("document.body.dataset.same = 'page'")
    sandbox.pause()
    head = page.locator("#sandbox-head")
    expect(head.locator(".pill")).to_have_text("Paused")
    expect(head.get_by_role("button", name="Resume")).to_have_count(0)
    Sandbox.resume(sandbox.id)
    expect(head.locator(".pill")).to_have_text("Running")
    assert page.evaluate("document.body.dataset.same") == "page"


def test_what_cannot_be_paused_any_more_is_said(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12", client=sandbox_client)
    page.route("**/head/", lambda route: route.abort())
    sign_in(page, account.operator, to=f"/sandboxes/{sandbox.id}/")
    sandbox.pause()
    page.get_by_role("button", name="Pause").click()
    expect(page.locator(".notice")).to_contain_text("paused already")


def test_the_list_tells_paused_ones_apart(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12", client=sandbox_client)
    sandbox.pause()
    sign_in(page, account.viewer, to="/sandboxes/?status=paused")
    expect(page.locator(f"#row-{sandbox.id} .pill")).to_have_text("Paused")
