"""The overview and the list in the browser: live without a reload, narrowed by the address."""

from __future__ import annotations

import re
from decimal import Decimal

from django.test import Client
from orkestr import Sandbox
from orkestr._client import OrkestrClient
from playwright.sync_api import Page, expect
from pytest_django import DjangoAssertNumQueries

from sandboxes.models import Sandbox as Row
from sandboxes.models import Status
from tests.cast import Cast
from tests.console.pages import shot, sign_in, watched
from tests.many import fill_sandboxes
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
    made = _rows(account, count=1)
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
    page.get_by_label("Budget").fill("0.75")
    page.get_by_role("button", name="Create sandbox").click()
    page.wait_for_url("**/sandboxes/sbx_*/")
    expect(page.locator("#details")).to_contain_text("€0.75, then pause")
    expect(page.locator('[data-kind="sandbox.running"]')).to_be_visible()
    expect(page.locator("#details")).to_contain_text("API_KEY")
    assert "very-secret" not in page.content()
    made = Row.objects.get(account=account.account)
    assert (made.template, made.metadata) == ("debian-12", {"team": "search"})
    assert (made.on_timeout, made.auto_resume, made.preview_auth) == ("pause", True, False)
    assert made.budget_eur == Decimal("0.75")
    assert made.actor["name"] == str(account.operator)


def test_the_form_says_what_is_wrong(page: Page, account: Cast) -> None:
    sign_in(page, account.operator, to="/sandboxes/new/")
    page.get_by_label("Environment").fill("no equals sign")
    page.get_by_role("button", name="Create sandbox").click()
    expect(page.get_by_text("Write each line as NAME=value")).to_be_visible()
    expect(page.get_by_label("Environment")).to_have_value("no equals sign")


def test_filters_stand_in_the_address_and_pages_do_not_shift(page: Page, account: Cast) -> None:
    rows = _rows(account, count=55)
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


def test_the_list_is_narrowed_by_everything_and_kept_as_a_view(page: Page, account: Cast) -> None:
    token = account.mint(name="agent").token
    wanted = account.running_sandbox(
        network="restricted", metadata={"team": "search"}, token=token, template="node-22"
    )
    account.running_sandbox(network="restricted", metadata={"team": "ads"}, template="node-22")
    account.running_sandbox(metadata={"team": "search"}, token=token)
    account.ended_sandbox()
    sign_in(page, account.operator, to="/sandboxes/")
    listed = page.locator(".list-row")
    expect(listed).to_have_count(4)
    page.get_by_label("Network").select_option("restricted")
    expect(listed).to_have_count(2)
    page.get_by_label("Token").select_option(label="agent")
    expect(listed).to_have_count(1)
    for label, value in (("Age", "1h"), ("Status", "live"), ("Template", "node-22")):
        page.get_by_label(label, exact=True).select_option(value)
    page.get_by_label("Metadata", exact=True).fill("team=search")
    page.get_by_label("Metadata", exact=True).press("Enter")
    expect(page).to_have_url(re.compile("metadata=team%3Dsearch"))
    expect(listed).to_have_count(1)
    expect(listed).to_have_id(f"row-{wanted.id}")

    page.get_by_text("Save view").click()
    page.get_by_label("Name").fill("Search team")
    page.get_by_label("For everybody in the account").check()
    page.get_by_role("button", name="Save", exact=True).click()
    expect(page.get_by_text("The view “Search team” is saved.")).to_be_visible()
    page.get_by_role("link", name="All", exact=True).click()
    expect(listed).to_have_count(4)
    shot(page, "list")
    page.get_by_role("link", name="Search team").click()
    expect(listed).to_have_count(1)
    expect(page.get_by_label("Network")).to_have_value("restricted")
    expect(page.get_by_role("link", name="Search team")).to_have_attribute("aria-current", "page")
    expect(page.get_by_text("Save view")).to_have_count(0)
    rename = page.get_by_label("Rename the view Search team")
    name = page.get_by_role("textbox", name="Name")
    rename.click()
    expect(name).to_be_focused()
    page.keyboard.press("Escape")
    expect(name).to_be_hidden()
    rename.click()
    expect(name).to_be_focused()
    page.keyboard.type("Finders")
    page.keyboard.press("Enter")
    expect(page.get_by_text("The view is called “Finders” now.")).to_be_visible()
    expect(page.get_by_role("link", name="Finders")).to_have_attribute("aria-current", "page")
    page.get_by_role("button", name="Delete the view Finders").click()
    asked = page.get_by_role("dialog", name="Delete the view “Finders”?")
    asked.get_by_role("button", name="Cancel").click()
    page.get_by_role("button", name="Delete the view Finders").click()
    asked.get_by_role("button", name="Delete view").click()
    expect(page.get_by_text("The view “Finders” is deleted")).to_be_visible()
    expect(page.get_by_role("link", name="Finders")).to_have_count(0)
    page.get_by_label("Search by id or metadata").fill("te")
    expect(page.get_by_text("A search begins at 3 characters.")).to_be_visible()
    expect(listed).to_have_count(4)


def test_many_are_paused_and_terminated_with_a_word_on_each(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    complaints = watched(page)
    real = [Sandbox.create(template="debian-12", client=sandbox_client) for _ in range(2)]
    ended = account.ended_sandbox()
    sign_in(page, account.operator, to="/sandboxes/")
    expect(page.locator(".socket .open")).to_be_visible()
    expect(page.get_by_role("button", name="Terminate…")).to_be_hidden()
    page.keyboard.press("j")
    page.keyboard.press("x")
    expect(page.get_by_text("1 chosen")).to_be_visible()
    page.get_by_label("Choose all on this page").check()
    made = account.running_sandbox(metadata={"from": "elsewhere"})
    Row.objects.filter(id=made.id).update(metadata={"changed": "now"})
    third = Sandbox.create(template="debian-12", client=sandbox_client)
    expect(page.locator(f"#row-{third.id}")).to_contain_text("Running")
    expect(page.get_by_text("3 chosen")).to_be_visible()
    expect(page.locator(f"#row-{real[0].id} .pick")).to_be_checked()
    expect(page.locator(f"#row-{third.id} .pick")).not_to_be_checked()
    shot(page, "list-chosen")
    page.set_viewport_size({"width": 390, "height": 844})
    shot(page, "list-phone")
    page.set_viewport_size({"width": 1280, "height": 800})

    page.get_by_role("button", name="Pause…").click()
    expect(page.get_by_role("heading", name="Pause 2 sandboxes?")).to_be_visible()
    expect(page.get_by_text("It has ended already.")).to_be_visible()
    shot(page, "bulk")
    assert Row.objects.filter(account=account.account, status=Status.PAUSED).count() == 0
    page.get_by_role("button", name="Pause 2 sandboxes").click()
    expect(page.get_by_role("heading", name="Paused 2 of 2 sandboxes")).to_be_visible()
    paused = Row.objects.filter(account=account.account, status=Status.PAUSED)
    assert {row.id for row in paused} == {one.id for one in real}
    page.get_by_role("link", name="Back to the list").click()
    Row.objects.filter(id=made.id).delete()
    page.reload()
    page.get_by_label("Choose all on this page").check()
    page.get_by_role("button", name="Terminate…").click()
    real[0].terminate()
    page.get_by_role("button", name="Terminate 3 sandboxes").click()
    expect(page.get_by_role("heading", name="Terminated 2 of 3 sandboxes")).to_be_visible()
    expect(page.get_by_text("It has ended already.")).to_be_visible()
    shot(page, "bulk-done")
    over = Row.objects.filter(account=account.account, status=Status.TERMINATED)
    assert {row.id for row in over} == {ended, third.id, *(one.id for one in real)}
    assert complaints == []


def test_bulk_acts_ask_for_the_role_and_the_account(account: Cast, other_account: Cast) -> None:
    theirs = other_account.running_sandbox()
    client = Client()
    client.force_login(account.viewer)
    page = client.get("/sandboxes/").content.decode()
    assert 'class="checkbox pick' not in page
    posted = {"act": "terminate", "id": [theirs.id], "confirmed": "1"}
    assert client.post("/sandboxes/bulk/", posted).status_code == 403
    client.force_login(account.operator)
    answer = client.post("/sandboxes/bulk/", {"act": "terminate", "id": [theirs.id]})
    assert "Nothing to terminate" in answer.content.decode()
    assert client.post("/sandboxes/bulk/", {"act": "terminate"}).status_code == 302
    assert client.get("/sandboxes/bulk/").status_code == 405
    elsewhere = client.post("/sandboxes/bulk/", {"act": "x", "query": "https://example.org/"})
    assert elsewhere["Location"] == "/sandboxes/"
    theirs.refresh_from_db()
    assert theirs.status == Status.RUNNING


def test_a_page_of_a_long_list_asks_a_fixed_number_of_short_questions(
    account: Cast, django_assert_num_queries: DjangoAssertNumQueries
) -> None:
    client = Client()
    client.force_login(account.owner)
    fill_sandboxes(account.account.id, count=3000)
    for query in ("", "?q=number&template=node-22", "?metadata=team%3Dteam-7&age=30d"):
        with django_assert_num_queries(7) as captured:
            html = client.get(f"/sandboxes/{query}").content.decode()
        assert html.count('class="list-row"') <= 50
        counts = [one["sql"] for one in captured if "COUNT(" in one["sql"]]
        assert len(counts) == 1
        assert "LIMIT 1001" in counts[0]
    assert "More than 1 000 sandboxes" in client.get("/sandboxes/").content.decode()


def _rows(account: Cast, *, count: int) -> list[Row]:
    """Ended sandboxes, oldest first, as if they had run."""
    ended_at = account.account.created_at
    made = [
        account.sandbox_row(
            status=Status.TERMINATED, ended_at=ended_at, metadata={"number": str(number)}
        )
        for number in range(count)
    ]
    return sorted(made, key=lambda row: row.id)


def test_nothing_overlaps_or_strays_at_any_width(page: Page, account: Cast) -> None:
    for _ in range(2):
        account.running_sandbox(metadata={"agent": "words"})
    sign_in(page, account.operator, to="/sandboxes/")
    for width in (390, 640, 680, 760, 820, 1000, 1360):
        page.set_viewport_size({"width": width, "height": 800})
        nav, end = page.locator(".top nav").bounding_box(), page.locator(".top-end").bounding_box()
        assert nav
        assert end
        assert nav["x"] + nav["width"] <= end["x"] + 1, width
        spills = "getComputedStyle(nav).overflowX === 'visible'"
        spilt = f"nav => {spills} && nav.scrollWidth > nav.clientWidth"
        assert not page.locator(".top nav").evaluate(spilt), width
        row = page.locator(".list-row").first
        pick, name = row.locator(".pick").bounding_box(), row.locator(".id").bounding_box()
        assert pick
        assert name
        assert 0 < name["x"] - pick["x"] < 60, width
