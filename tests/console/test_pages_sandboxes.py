"""The overview and the list in the browser: live without a reload, narrowed by the address."""

from __future__ import annotations

import re

from orkestr import Sandbox
from orkestr._client import OrkestrClient
from playwright.sync_api import Page, expect

from accounts.models import Account
from sandboxes.models import Sandbox as Row
from sandboxes.models import Status
from tests.cast import Cast
from tests.console.pages import sign_in, watched
from tests.stack import Stack


def test_the_list_shows_what_happens_without_a_reload(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    complaints = watched(page)
    sign_in(page, account.viewer, to="/sandboxes/")
    expect(page.get_by_role("heading", name="No sandbox yet")).to_be_visible()
    expect(page.locator(".socket .open")).to_be_visible()
    page.evaluate("document.body.dataset.same = 'page'")

    sandbox = Sandbox.create(
        template="debian-12", metadata={"agent_run": "r_1"}, client=sandbox_client
    )
    row = page.locator(f"#row-{sandbox.id}")
    expect(row).to_contain_text("Running")
    expect(row).to_contain_text("agent_run=r_1")
    sandbox.terminate()
    expect(row).to_contain_text("Terminated")
    assert page.evaluate("document.body.dataset.same") == "page"
    assert complaints == []


def test_the_overview_counts_what_runs(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sign_in(page, account.owner)
    running = page.locator(".count").filter(has_text="Running now").locator("dd")
    expect(running).to_have_text(re.compile(r"^\s*0 of \d+\s*$"))
    expect(page.locator(".socket .open")).to_be_visible()
    sandbox = Sandbox.create(template="debian-12", client=sandbox_client)
    expect(running).to_have_text(re.compile(r"^\s*1 of \d+\s*$"))
    page.locator(f"#row-{sandbox.id} a").click()
    expect(page.locator("#timeline")).to_have_attribute("data-sandbox", sandbox.id)


def test_the_list_comes_back_by_itself_and_is_current_then(
    page: Page, account: Cast, stack: Stack
) -> None:
    sign_in(page, account.owner, to="/sandboxes/")
    expect(page.locator(".socket .open")).to_be_visible()
    stack.kill("asgi")
    expect(page.locator(".socket .away")).to_be_visible()
    made = _rows(account.account, count=1)
    stack.start("asgi")
    expect(page.locator(f"#row-{made[0].id}")).to_be_visible(timeout=30_000)


def test_a_sandbox_is_made_with_the_form(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sign_in(page, account.operator, to="/sandboxes/")
    page.get_by_role("link", name="New sandbox").first.click()
    page.get_by_label("debian-12").check()
    page.get_by_label("Time limit in seconds").fill("120")
    page.get_by_label("Environment").fill("API_KEY=very-secret\n")
    page.get_by_label("Metadata").fill("team=search")
    page.get_by_label("Pause it").check()
    page.get_by_label("Wake by itself").check()
    page.get_by_role("button", name="Create sandbox").click()
    page.wait_for_url("**/sandboxes/sbx_*/")
    expect(page.locator('[data-kind="sandbox.running"]')).to_be_visible()
    expect(page.locator("#details")).to_contain_text("API_KEY")
    assert "very-secret" not in page.content()
    made = Row.objects.get(account=account.account)
    assert (made.template, made.metadata) == ("debian-12", {"team": "search"})
    assert (made.on_timeout, made.auto_resume, made.preview_auth) == ("pause", True, False)
    assert made.actor["name"] == str(account.operator)


def test_the_form_says_what_is_wrong(page: Page, account: Cast) -> None:
    sign_in(page, account.operator, to="/sandboxes/new/")
    page.get_by_label("Environment").fill("no equals sign")
    page.get_by_role("button", name="Create sandbox").click()
    expect(page.get_by_text("Write each line as NAME=value")).to_be_visible()
    expect(page.get_by_label("Environment")).to_have_value("no equals sign")


def test_filters_stand_in_the_address_and_pages_do_not_shift(page: Page, account: Cast) -> None:
    rows = _rows(account.account, count=55)
    sign_in(page, account.viewer, to="/sandboxes/")
    listed = page.locator(".list-row")
    expect(listed).to_have_count(50)
    page.get_by_role("link", name="Older").click()
    expect(listed).to_have_count(5)
    expect(listed.last).to_have_attribute("data-sandbox", rows[0].id)

    page.goto("/sandboxes/")
    page.get_by_label("Search by id or metadata").fill("number=54")
    expect(listed).to_have_count(1)
    expect(page).to_have_url(re.compile(r"q=number%3D54"))
    page.reload()
    expect(listed).to_have_count(1)
    page.get_by_label("Search by id or metadata").fill("")
    page.get_by_label("Status").select_option("failed")
    expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()


def _rows(account: Account, *, count: int) -> list[Row]:
    """Ended sandboxes, oldest first, as if they had run."""
    plain = {
        "actor": {"type": "system"},
        "status": Status.TERMINATED,
        "template": "debian-12",
        "size": "small",
        "cpu": 1,
        "memory_mb": 1024,
        "disk_mb": 1024,
        "network": "off",
        "region": "local",
        "node_id": "local",
        "timeout_seconds": 60,
        "on_timeout": "kill",
        "expires_at": account.created_at,
        "ended_at": account.created_at,
        "reason": "expired",
    }
    made = [
        Row.objects.create(account=account, metadata={"number": str(number)}, **plain)
        for number in range(count)
    ]
    return sorted(made, key=lambda row: row.id)
