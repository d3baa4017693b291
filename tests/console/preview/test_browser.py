"""Previews in a real browser, from the sandbox's page."""

from __future__ import annotations

import re

import pytest
from orkestr import Sandbox
from orkestr._client import OrkestrClient
from playwright.sync_api import Page, expect

from accounts.models import Plan
from tests.cast import Cast
from tests.console.pages import SECONDS, sign_in, watched
from tests.console.preview.conftest import PORT, serve


@pytest.fixture
def sandbox(sandbox_client: OrkestrClient) -> Sandbox:
    return Sandbox.create(template="python-3.12-bare", preview_auth=True, client=sandbox_client)


def test_a_port_becomes_a_link_that_opens_what_runs_there(
    page: Page, account: Cast, sandbox: Sandbox
) -> None:
    complaints = watched(page)
    sign_in(page, account.viewer, to=f"/sandboxes/{sandbox.id}/")
    ports = page.locator("#sandbox-ports")
    expect(ports).to_contain_text("Nothing listens")
    host = serve(sandbox)
    link = ports.get_by_role("link", name=str(PORT))
    expect(link).to_be_visible(timeout=20 * SECONDS)
    assert "ork_preview_token" in (link.get_attribute("href") or "")
    with page.context.expect_page() as opened:
        link.click()
    shown = opened.value
    shown.wait_for_load_state()
    assert shown.url == f"http://{host}/", "the token is out of the address"

    shown.goto(f"http://{host}/page")
    expect(shown.get_by_role("heading")).to_have_text("Hello from the sandbox")
    expect(shown.locator("#ws")).to_have_text("from the page")
    expect(shown.locator("#sse")).to_contain_text("0123")
    assert shown.evaluate("window.opener") is None
    assert shown.evaluate("document.cookie") == "app=1; mine=1"
    cookies = {one["name"]: one for one in page.context.cookies()}
    assert cookies["ork_preview"]["domain"] == host.partition(":")[0]
    assert cookies["ork_preview"]["httpOnly"]
    assert cookies["orkestr_session"]["domain"] == "127.0.0.1"
    seen = shown.evaluate("fetch('/seen').then(answer => answer.text())")
    assert "orkestr_session" not in seen
    assert "ork_preview" not in seen
    row = page.locator('[data-kind="network.preview"]')
    expect(row).to_contain_text(f"Preview of port {PORT}")
    assert complaints == []


def test_a_page_of_a_sandbox_reaches_nothing_of_the_console(
    page: Page, account: Cast, sandbox: Sandbox
) -> None:
    sign_in(page, account.owner)
    console = page.url
    page.goto(f"http://{serve(sandbox)}/?ork_preview_token={sandbox.preview_auth_token}")
    answer = page.evaluate(
        "at => fetch(at, {credentials: 'include'}).then(() => 'read', error => error.name)", console
    )
    assert answer == "TypeError"
    ws = console.replace("http://", "ws://") + "ws/overview/"
    closed = page.evaluate(
        "at => new Promise(done => { const ws = new WebSocket(at);"
        " ws.onopen = () => done('open'); ws.onerror = () => done('refused'); })",
        ws,
    )
    assert closed == "refused"
    page.evaluate("at => { document.body.innerHTML = `<iframe src='${at}'></iframe>`; }", console)
    page.wait_for_timeout(300)  # a frame that must not load fires nothing to wait for
    assert all(re.match(r"(chrome-error|about):", one.url) for one in page.frames[1:])


def test_the_page_says_why_there_are_no_links(page: Page, account: Cast, sandbox: Sandbox) -> None:
    serve(sandbox)
    account.account.plan = Plan.objects.get(name="free")
    account.account.save()
    sign_in(page, account.owner, to=f"/sandboxes/{sandbox.id}/")
    ports = page.locator("#sandbox-ports")
    expect(ports).to_contain_text("does not cover previews")
    sandbox.terminate()
    expect(ports).to_have_text("", timeout=20 * SECONDS)
