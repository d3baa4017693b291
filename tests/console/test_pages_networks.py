"""Networks in the browser: chosen in the form, seen on the timeline."""

from __future__ import annotations

from orkestr import Sandbox
from orkestr._client import OrkestrClient
from playwright.sync_api import Page, expect

from accounts.models import Plan
from sandboxes.host.egress.defaults import CODE_HOSTING
from tests.cast import Cast
from tests.console.pages import TIMELINE, sign_in, watched

FORM = "/sandboxes/new/"


def test_a_restricted_sandbox_with_a_list_of_its_own_tells_what_it_denied(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    complaints = watched(page)
    sign_in(page, account.operator, to=FORM)
    page.get_by_label("debian-12").check()
    page.get_by_role("radio", name="restricted").check()
    page.get_by_role("textbox", name="Allowed domains").fill("own.example.org\nAPI.example.org")
    page.get_by_role("button", name="Create sandbox").click()
    expect(page.locator(TIMELINE)).to_have_attribute("data-live", "live")
    details = page.locator("aside, .side").first
    expect(details).to_contain_text("own.example.org")
    expect(details).to_contain_text("api.example.org")
    sandbox = Sandbox.get(page.url.rstrip("/").rpartition("/")[2], client=sandbox_client)
    assert sandbox.network == "restricted"
    sandbox.exec("curl -sS https://other.example.org/")
    denied = page.locator("[data-kind='network.denied']")
    expect(denied).to_contain_text("other.example.org:443")
    expect(denied).to_contain_text("allow the domain other.example.org")
    page.get_by_role("button", name="Network").click()
    expect(denied).to_be_visible()
    expect(page.locator("[data-kind='sandbox.created']")).to_be_hidden()
    page.get_by_role("button", name="Failed").click()
    expect(denied).to_be_visible()
    assert complaints == []


def test_the_form_shows_the_default_list(page: Page, account: Cast) -> None:
    sign_in(page, account.operator, to=FORM)
    page.get_by_text("Show the default list").click()
    expect(page.get_by_text(CODE_HOSTING[0])).to_be_visible()


def test_a_domain_that_is_none_is_told_and_nothing_is_lost(page: Page, account: Cast) -> None:
    sign_in(page, account.operator, to=FORM)
    page.get_by_role("radio", name="restricted").check()
    page.get_by_role("textbox", name="Allowed domains").fill("https://example.org")
    page.get_by_role("button", name="Create sandbox").click()
    expect(page.get_by_text("allow_domains takes bare host names")).to_be_visible()
    expect(page.get_by_role("textbox", name="Allowed domains")).to_have_value("https://example.org")
    expect(page.get_by_role("radio", name="restricted")).to_be_checked()


def test_the_form_offers_what_the_plan_covers(page: Page, account: Cast) -> None:
    account.account.plan = Plan.objects.get(name="free")
    account.account.save()
    sign_in(page, account.operator, to=FORM)
    expect(page.get_by_role("radio", name="restricted")).to_be_enabled()
    expect(page.get_by_role("radio", name="open")).to_be_disabled()
    expect(page.get_by_role("textbox", name="Allowed domains")).to_have_count(0)
