"""What says that a run may be stuck, in a real browser over a real sandbox."""

from __future__ import annotations

from django.test import Client
from orkestr import Sandbox
from orkestr._client import OrkestrClient
from playwright.sync_api import Page, expect

from sandboxes.signals.selectors import signals_of
from tests.cast import Cast
from tests.console.pages import open_timeline, shot, watched


def test_a_stuck_run_says_so_with_links_to_what_it_did_until_it_is_dismissed(
    page: Page, account: Cast, other_account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12", client=sandbox_client)
    complaints = watched(page)
    open_timeline(page, account.operator, sandbox.id)
    for _ in range(3):
        sandbox.exec("grep -q '<b>' /nowhere")
    signals = page.locator("#signals")
    expect(signals.locator("li")).to_contain_text("ran 3 times in a row, each with exit 2")
    expect(page.locator(".row[data-kind='signal.raised']")).to_contain_text("Same command again")
    shot(page, "signals")
    page.set_viewport_size({"width": 390, "height": 800})
    shot(page, "signals-phone")
    page.set_viewport_size({"width": 1280, "height": 720})
    first = signals.locator(".signal-evidence a").first
    seq = (first.text_content() or "").strip("#")
    first.click()
    expect(page.locator(f"#e{seq}")).to_have_attribute("data-linked", "")

    (signal,) = signals_of(sandbox_id=sandbox.id)
    path = f"/sandboxes/{sandbox.id}/signals/{signal.pk}/dismiss/"
    for user, status in ((account.viewer, 403), (other_account.owner, 404)):
        client = Client()
        client.force_login(user)
        assert client.post(path).status_code == status
    signals.get_by_role("button", name="Dismiss").click()
    expect(signals.locator("li")).to_have_count(0)
    row = page.locator(".row[data-kind='signal.dismissed']")
    expect(row.locator(".chip")).to_contain_text("Operator")
    assert complaints == []
