"""Tokens in the browser: minted, shown once, used, revoked."""

from __future__ import annotations

import json
import secrets
import time
from typing import Any

import httpx
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts.models import Token
from console.paging import COUNTED
from console.token_list import PAGE, TokenFilters, token_list
from tests.cast import Cast
from tests.console.pages import shot, sign_in, watched
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


def _tokens(account: Cast, count: int, **fields: Any) -> list[Token]:
    """Rows, oldest first; their ids sort by time as those of minted ones do."""
    begin = time.time_ns()
    return Token.objects.bulk_create(
        Token(
            id=f"tok_{number:026d}",
            account=account.account,
            name=f"agent {number}",
            lookup=secrets.token_hex(4),
            digest=secrets.token_hex(32),
            scopes=["sandboxes:read"],
            **fields,
        )
        for number in range(begin, begin + count)
    )


def test_more_tokens_than_are_counted_are_a_page_at_a_time(page: Page, account: Cast) -> None:
    made = _tokens(account, COUNTED + PAGE)
    revoked = _tokens(account, PAGE + 1, revoked_at=timezone.now())
    (expired,) = _tokens(account, 1, expires_at=timezone.now())
    complaints = watched(page)
    sign_in(page, account.owner, to="/tokens/?state=usable")
    rows, pager = page.locator(".keys-list li"), page.locator("#pager")
    expect(rows).to_have_count(PAGE)
    expect(pager).to_contain_text("More than 1 000 tokens match")
    expect(rows.first).to_have_id(f"token-{made[-1].id}")
    shot(page, "tokens")
    account.mint(name="made meanwhile")
    pager.get_by_role("link", name="Older").click()
    expect(rows.first).to_have_id(f"token-{made[-PAGE - 1].id}")
    rows.first.get_by_role("button", name="Revoke").click()
    page.get_by_role("dialog").get_by_role("button", name="Revoke token").click()
    expect(page.get_by_role("status").first).to_contain_text("is revoked")
    expect(rows.first).to_have_id(f"token-{made[-PAGE - 2].id}")
    pager.get_by_role("link", name="Newest").click()
    expect(rows.first).to_contain_text("made meanwhile")

    page.get_by_label("State").select_option("Revoked")
    expect(pager).to_contain_text(f"{PAGE + 2} tokens match")
    pager.get_by_role("link", name="Older").click()
    expect(rows).to_have_count(2)
    expect(rows.first).to_have_id(f"token-{revoked[0].id}")
    page.get_by_label("State").select_option("Expired")
    expect(rows).to_have_count(1)
    expect(rows).to_have_id(f"token-{expired.id}")

    page.goto("/tokens/")
    search = page.get_by_role("searchbox")
    search.fill(made[0].prefix)
    search.press("Enter")
    expect(rows).to_have_id(f"token-{made[0].id}")
    page.get_by_role("searchbox").fill("nothing of that name")
    page.get_by_role("searchbox").press("Enter")
    expect(page.get_by_role("heading", name="Nothing matches")).to_be_visible()
    shot(page, "tokens-none")
    page.get_by_role("link", name="Clear filters").click()
    expect(rows).to_have_count(PAGE)
    assert complaints == []


def test_a_page_of_tokens_asks_for_no_more_than_it_shows(account: Cast) -> None:
    _tokens(account, 3 * PAGE)
    with CaptureQueriesContext(connection) as asked:
        shown = token_list(account_id=account.account.id, filters=TokenFilters())
    assert (len(shown.rows), shown.total) == (PAGE, 3 * PAGE)
    assert len(asked) == 4, "how many, which, the rows with what they made, their uses"


def test_an_operator_may_not_revoke_what_an_owner_made(page: Page, account: Cast) -> None:
    minted = account.mint(name="the owner's")
    sign_in(page, account.operator, to="/tokens/")
    row = page.locator(f"#token-{minted.token.id}")
    expect(row).to_contain_text("the owner's")
    expect(row.get_by_role("button")).to_have_count(0)
