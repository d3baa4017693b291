"""The command palette and the sheet of shortcuts, by keyboard alone."""

from __future__ import annotations

import re

from django.test import Client
from playwright.sync_api import Page, expect

from sandboxes.models import Sandbox, Status
from sandboxes.saved_views import saved_view_create
from tests.cast import Cast
from tests.console.pages import open_timeline, shot, sign_in, watched


def test_the_search_stays_in_the_account(account: Cast, other_account: Cast) -> None:
    mine = account.running_sandbox(metadata={"run": "needle \u202e <b>"})
    other_account.running_sandbox(metadata={"run": "needle"})
    Sandbox.objects.filter(id=account.ended_sandbox()).update(status=Status.FAILED)
    client = Client()
    assert client.get("/palette/").status_code == 302
    client.force_login(account.viewer)
    found = client.get("/palette/", {"q": "NEEDLE"}).json()["items"]
    assert [item["href"] for item in found] == [f"/sandboxes/{mine.id}/"]
    assert "\u202e" not in found[0]["sub"]
    assert len(client.get("/palette/").json()["items"]) == 2
    shortened = client.get("/palette/", {"q": f"sbx_…{mine.id[-8:]}"}).json()["items"]
    assert [item["href"] for item in shortened] == [f"/sandboxes/{mine.id}/"]


def test_everything_is_reached_by_keyboard(page: Page, account: Cast) -> None:
    complaints = watched(page)
    run = account.running_sandbox(metadata={"agent_run": "r_4711", "team": "search"})
    account.running_sandbox(metadata={"team": "ads"})
    saved_view_create(principal=account.principal(), name="Search team", query="q=team%3Dsearch")
    open_timeline(page, account.owner, run.id)
    palette = page.get_by_role("dialog", name="Command palette")
    field = palette.get_by_role("combobox")
    options = palette.get_by_role("option")

    page.keyboard.press("Control+k")
    expect(field).to_be_focused()
    expect(palette.get_by_role("group", name="Sandboxes").get_by_role("option")).to_have_count(2)
    chosen = palette.locator("[aria-selected=true]")
    expect(chosen).to_have_count(1)
    assert field.get_attribute("aria-activedescendant") == chosen.get_attribute("id")
    shot(page, "palette")
    page.keyboard.press("ArrowDown")
    expect(options.nth(1)).to_have_attribute("aria-selected", "true")
    page.keyboard.press("ArrowUp")
    page.keyboard.press("ArrowUp")
    expect(options.last).to_have_attribute("aria-selected", "true")

    field.fill("r_4711")
    expect(options).to_have_count(1)
    expect(options).to_contain_text("agent_run=r_4711")
    shot(page, "palette-search")
    field.fill("no such thing anywhere")
    expect(palette.get_by_text("Nothing matches.")).to_be_visible()
    field.fill("termin")
    expect(palette.get_by_role("group", name="On this page")).to_contain_text("Terminate")
    field.fill("terminate")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name=re.compile("Terminate sbx"))).to_be_visible()
    page.keyboard.press("Escape")

    page.keyboard.press("Control+k")
    field.fill("search team")
    expect(palette.get_by_role("group", name="Saved views")).to_contain_text("Search team")
    expect(chosen).to_contain_text("Search team")
    page.keyboard.press("Enter")
    page.wait_for_url("**/sandboxes/?q=team%3Dsearch")
    expect(page.locator(".list-row")).to_have_count(1)
    page.keyboard.press("Meta+k")
    field.fill(run.id)
    expect(options).to_have_count(1)
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/sandboxes/{run.id}/")
    page.keyboard.press("g")
    page.keyboard.press("t")
    page.wait_for_url("**/tokens/")

    page.keyboard.press("?")
    sheet = page.get_by_role("dialog", name="Keyboard")
    expect(sheet).to_contain_text("Everywhere")
    shot(page, "sheet")
    page.keyboard.press("Escape")
    expect(sheet).to_be_hidden()
    page.set_viewport_size({"width": 390, "height": 844})
    page.get_by_role("button", name="Search and commands").click()
    expect(field).to_be_focused()
    shot(page, "palette-phone")
    page.keyboard.press("Escape")
    expect(palette).to_be_hidden()
    assert complaints == []


def test_there_is_one_sheet_and_it_begins_with_the_page(page: Page, account: Cast) -> None:
    run = account.running_sandbox()
    open_timeline(page, account.viewer, run.id)
    page.keyboard.press("?")
    expect(page.locator("dialog[open]")).to_have_count(1)
    expect(page.locator("dialog[open]")).to_contain_text("Next, previous command")
    shot(page, "sheet-timeline")


def test_a_viewer_is_offered_no_act(page: Page, account: Cast) -> None:
    account.running_sandbox()
    sign_in(page, account.viewer)
    page.keyboard.press("Control+k")
    palette = page.get_by_role("dialog", name="Command palette")
    expect(palette.get_by_role("group", name="Go to")).to_contain_text("Running sandboxes")
    expect(palette).not_to_contain_text("New sandbox")
