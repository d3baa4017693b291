"""The API page: a cookbook with the reader's own address and token, and the reference."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.cast import Cast
from tests.console.pages import sign_in, watched
from tests.sandboxes.api.routes import all_routes
from tests.stack import Stack


def test_the_cookbook_has_the_readers_address_and_the_token_they_type(
    page: Page, stack: Stack, account: Cast
) -> None:
    complaints = watched(page)
    asked: list[str] = []
    sign_in(page, account.viewer, to="/docs/")
    expect(page.locator("#setup-python")).to_contain_text(f"ORKESTR_BASE_URL={stack.url}")
    page.on("request", lambda request: asked.append(request.url))
    page.get_by_label("A token").fill("ork_typed")
    expect(page.locator("#setup-python")).to_contain_text("ORKESTR_API_KEY=ork_typed")
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    copy = page.locator("#docs-python").get_by_role("button", name="Copy the set-up")
    copy.click()
    expect(copy).to_have_attribute("data-done", "")
    assert "ork_typed" in page.evaluate("navigator.clipboard.readText()")
    page.get_by_role("tab", name="Python").press("ArrowRight")
    expect(page.locator("#recipe-javascript-1")).to_contain_text("Sandbox.withTemp")
    page.get_by_role("tab", name="MCP").click()
    expect(page.locator("#setup-mcp")).to_contain_text(f"{stack.url}/api/sandboxes/mcp")
    expect(page.locator("#setup-mcp")).to_contain_text("Bearer ork_typed")
    page.get_by_label("A token").fill("")
    expect(page.locator("#setup-mcp")).to_contain_text("Bearer ork_…")
    assert asked == []
    assert complaints == []


def test_the_reference_has_every_route_with_its_scope(page: Page, account: Cast) -> None:
    sign_in(page, account.viewer, to="/docs/")
    page.get_by_role("link", name="Reference").click()
    for route in all_routes():
        operation = page.locator(f"#{route.name}")
        expect(operation.locator("summary")).to_contain_text(route.method)
        expect(operation).to_contain_text(route.path)
        expect(operation).to_contain_text(route.scope)
    page.goto("/docs/api/#exec_command")
    opened = page.locator("#exec_command")
    expect(opened.get_by_text("timeout_seconds", exact=True)).to_be_visible()
    expect(opened).to_contain_text("integer 1 to 3600, 60 by default")
    expect(opened).to_contain_text("408")
