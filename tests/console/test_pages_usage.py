"""What a sandbox uses right now, on its page."""

from __future__ import annotations

import httpx
import pytest
from orkestr import Sandbox
from orkestr._client import OrkestrClient
from playwright.sync_api import Page, expect

from tests.cast import Cast
from tests.console.pages import SECONDS, sign_in, watched
from tests.stack import Stack


@pytest.fixture
def sandbox(sandbox_client: OrkestrClient) -> Sandbox:
    return Sandbox.create(template="debian-12", client=sandbox_client)


def test_the_page_keeps_showing_what_a_sandbox_uses(
    stack: Stack, account: Cast, sandbox: Sandbox, page: Page
) -> None:
    complaints = watched(page)
    sign_in(page, account.owner, to=f"/sandboxes/{sandbox.id}/")
    now, use = page.locator("#usage-now"), page.locator("#sandbox-usage")
    expect(now).to_contain_text("CPU", timeout=20 * SECONDS)
    expect(use).to_contain_text("GB s")
    expect(use.locator("svg.curve polyline")).to_have_count(2, timeout=20 * SECONDS)
    before = sandbox.metrics().lifetime.cpu_seconds
    sandbox.exec("n=0; while [ $n -lt 400000 ]; do n=$((n+1)); done")
    assert sandbox.metrics().lifetime.cpu_seconds >= before
    first = use.text_content() or ""
    expect(use).not_to_have_text(first, timeout=20 * SECONDS)

    sandbox.terminate()
    expect(page.locator("#sandbox-head")).to_have_attribute("data-status", "terminated")
    expect(now).to_have_count(0)
    expect(use).to_contain_text("In all")
    expect(use).not_to_have_attribute("hx-trigger", "every 3s", timeout=20 * SECONDS)
    assert not complaints


def test_while_the_host_is_away_it_says_so_and_comes_back(
    stack: Stack, account: Cast, sandbox: Sandbox, page: Page
) -> None:
    sign_in(page, account.owner, to=f"/sandboxes/{sandbox.id}/")
    use = page.locator("#sandbox-usage")
    expect(use).to_contain_text("CPU", timeout=20 * SECONDS)
    stack.kill("host")
    try:
        expect(use).to_contain_text("Not known yet", timeout=30 * SECONDS)
    finally:
        stack.start("host")
    expect(use).to_contain_text("GB s", timeout=30 * SECONDS)


def test_somebody_elses_sandbox_is_not_there(
    stack: Stack, other_account: Cast, sandbox: Sandbox, page: Page
) -> None:
    sign_in(page, other_account.owner)
    cookies = {one.get("name", ""): one.get("value", "") for one in page.context.cookies()}
    with httpx.Client(base_url=stack.url, cookies=cookies) as client:
        assert client.get(f"/sandboxes/{sandbox.id}/usage/").status_code == 404
        assert client.post(f"/sandboxes/{sandbox.id}/usage/").status_code in (403, 405)
