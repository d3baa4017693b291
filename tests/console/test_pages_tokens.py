"""Tokens in the browser: minted, shown once, used, revoked."""

from __future__ import annotations

import json

import httpx
from playwright.sync_api import Page, expect

from accounts.models import Token
from tests.cast import Cast
from tests.console.pages import sign_in, watched
from tests.stack import Stack


def _calls(stack: Stack, token: str) -> int:
    """The status that the API answers a token with."""
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.get(f"{stack.url}/v1/sandboxes", headers=headers, timeout=30).status_code


def _mint(page: Page, name: str) -> None:
    page.get_by_role("button", name="Mint a token").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill(name)
    dialog.get_by_label("sandboxes:write").uncheck()
    dialog.get_by_label("30 days").check()
    dialog.get_by_role("button", name="Mint token").click()


def test_a_token_is_minted_shown_once_copied_used_and_revoked(
    page: Page, stack: Stack, account: Cast
) -> None:
    complaints = watched(page)
    sign_in(page, account.operator, to="/tokens/")
    _mint(page, "night run")
    text = page.locator("#minted-token").inner_text()
    assert _calls(stack, text) == 200
    assert text in page.locator("#snippet-python").inner_text()

    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    copy = page.get_by_role("button", name="Copy the token")
    copy.click()
    expect(copy).to_have_attribute("data-done", "")
    assert page.evaluate("navigator.clipboard.readText()") == text
    page.get_by_role("tab", name="curl").click()
    expect(page.locator("#snippet-curl")).to_contain_text(f"{stack.url}/v1/sandboxes")
    page.get_by_role("tab", name="MCP").click()
    door = json.loads(page.locator("#snippet-mcp").inner_text())["mcpServers"]["orkestr"]
    assert door["url"] == f"{stack.url}/api/sandboxes/mcp"
    assert door["headers"] == {"Authorization": f"Bearer {text}"}
    page.get_by_role("tab", name="JavaScript").click()
    expect(page.locator("#snippet-javascript")).to_contain_text(text)

    page.goto("/tokens/")
    assert text not in page.content()
    token = Token.objects.get(account=account.account, name="night run")
    assert token.scopes == ["sandboxes:read"]
    row = page.locator(f"#token-{token.id}")
    expect(row).to_contain_text(token.prefix)
    row.get_by_role("button", name="Revoke").click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("Revoke night run?")
    dialog.get_by_role("button", name="Revoke token").click()
    expect(row).to_contain_text("revoked")
    assert _calls(stack, text) == 401
    assert complaints == []


def test_a_token_that_cannot_be_made_says_why_and_keeps_what_was_typed(
    page: Page, account: Cast
) -> None:
    sign_in(page, account.owner, to="/tokens/")
    page.get_by_role("button", name="Mint a token").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label("Name").fill("from home")
    dialog.get_by_label("Allowed networks").fill("home")
    dialog.get_by_role("button", name="Mint token").click()
    expect(dialog.get_by_role("alert")).to_contain_text("'home' is not a network")
    expect(dialog.get_by_label("Name")).to_have_value("from home")
    assert not Token.objects.filter(account=account.account).exists()


def test_an_operator_may_not_revoke_what_an_owner_made(page: Page, account: Cast) -> None:
    minted = account.mint(name="the owner's")
    sign_in(page, account.operator, to="/tokens/")
    row = page.locator(f"#token-{minted.token.id}")
    expect(row).to_contain_text("the owner's")
    expect(row.get_by_role("button")).to_have_count(0)
