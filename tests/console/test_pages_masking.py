"""Masking in the browser: a pattern is tried, saved, changed, and hides what a sandbox prints."""

from __future__ import annotations

from django.test import Client
from orkestr import Sandbox
from orkestr._client import OrkestrClient
from playwright.sync_api import Page, expect

from sandboxes.masking import patterns_of
from sandboxes.models import MaskingPattern
from tests.cast import Cast, make_cast
from tests.console.pages import card, shot, sign_in, watched

SECRET = "acme_0123abcd"


def test_a_pattern_is_tried_saved_and_hides_what_a_sandbox_prints(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    complaints = watched(page)
    sign_in(page, account.owner, to="/settings/masking/")
    shot(page, "masking-empty")
    page.get_by_role("button", name="Add a pattern").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("acme keys")
    dialog.get_by_label("Regular expression").fill("acme_[0-9a-f")
    dialog.get_by_label("Try it").fill(f"<b>key</b>: {SECRET}")
    expect(dialog.locator("#tried")).to_contain_text("missing ]")
    dialog.get_by_label("Regular expression").fill("acme_[0-9a-f]{9}")
    expect(dialog.locator("#tried")).to_contain_text("Hides nothing here")
    assert complaints == []
    dialog.get_by_role("button", name="Add pattern").click()
    expect(dialog.get_by_role("alert")).to_contain_text("hides nothing in the example")
    complaints.clear()  # the browser tells of every answer that is an error
    dialog.get_by_label("Regular expression").fill("acme_[0-9a-f]{8}")
    expect(dialog.locator("#tried pre")).to_have_text("<b>key</b>: [masked]")
    shot(page, "masking-try")
    dialog.get_by_role("button", name="Add pattern").click()
    expect(page.get_by_role("status").first).to_contain_text("acme keys is hidden")
    shot(page, "masking")
    page.set_viewport_size({"width": 390, "height": 844})
    shot(page, "masking-phone")
    page.set_viewport_size({"width": 1280, "height": 720})

    sandbox = Sandbox.create(template="debian-12", timeout_seconds=600, client=sandbox_client)
    page.goto(f"/sandboxes/{sandbox.id}/")
    script = "printf 'a acme_01'; sleep 0.2; printf '23abcd b\\n'"
    said = sandbox.exec(script)
    assert said.stdout == f"a {SECRET} b\n"
    expect(card(page, script).locator(".out").last).to_have_text("[masked] b\n")
    expect(card(page, script).locator(".out").first).to_have_text("a ")
    assert complaints == []

    page.goto("/settings/masking/")
    page.get_by_role("link", name="Edit acme keys").click()
    dialog = page.get_by_role("dialog")
    expect(dialog.get_by_label("Regular expression")).to_have_value("acme_[0-9a-f]{8}")
    dialog.get_by_label("Name").fill("keys of acme")
    dialog.get_by_label("Try it").fill(SECRET)
    dialog.get_by_role("button", name="Save pattern").click()
    page.get_by_role("button", name="Remove keys of acme").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove pattern").click()
    expect(page.get_by_role("heading", name="No pattern of your own yet")).to_be_visible()
    assert patterns_of(account.account.id) == []


def test_others_read_the_patterns_and_change_none(account: Cast) -> None:
    pattern = MaskingPattern.objects.create(account=account.account, name="acme", expression="a{9}")
    foreign = MaskingPattern.objects.create(account=make_cast().account, name="x", expression="b")
    typed = {"name": "x", "expression": "c{3}", "example": "ccc"}
    for user in (account.operator, account.viewer):
        client = Client()
        client.force_login(user)
        page = client.get("/settings/masking/").content.decode()
        assert "a{9}" in page
        assert "<form" not in page.split("<main")[1].split("</main>")[0]
        assert client.post("/settings/masking/", typed).status_code == 403
        assert client.post("/settings/masking/try/", typed).status_code == 403
        assert client.post(f"/settings/masking/{pattern.id}/remove/").status_code == 403
    client = Client()
    client.force_login(account.owner)
    assert client.post(f"/settings/masking/{foreign.id}/remove/").status_code == 404
    changed = client.post("/settings/masking/", typed | {"pattern": str(foreign.id)})
    assert changed.status_code == 404
