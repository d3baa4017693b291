"""What the tests of the pages share: signing in, and where things are on a timeline."""

from __future__ import annotations

import os
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.db import SessionStore
from django.test import RequestFactory
from playwright.sync_api import Locator, Page, expect

from accounts.models import User
from console.sign_in import begin_session

TIMELINE = "#timeline"
SECONDS = 1000


def sign_in(page: Page, user: User, *, to: str = "/") -> None:
    """Give the browser a session as the form makes one, and go ``to``.

    The form itself, which takes a second or two, is for test_pages_sign_in.
    """
    agent = page.evaluate("navigator.userAgent")
    request = RequestFactory(headers={"user-agent": agent}).post("/login/")
    request.session, request.user = SessionStore(), AnonymousUser()
    begin_session(request, user, method="password")
    request.session.save()
    cookie = {
        "name": settings.SESSION_COOKIE_NAME,
        "value": str(request.session.session_key),
        "url": page.request.get("/healthz").url,
        "httpOnly": True,
    }
    page.context.add_cookies([cookie])  # type: ignore[list-item]
    page.goto(to)
    page.wait_for_url(f"**{to}")


def open_timeline(page: Page, user: User, sandbox_id: str) -> Locator:
    """Signed in, on the sandbox's page, and live."""
    sign_in(page, user, to=f"/sandboxes/{sandbox_id}/")
    timeline = page.locator(TIMELINE)
    expect(timeline).to_have_attribute("data-live", "live")
    return timeline


def card(page: Page, command: str) -> Locator:
    """The card of the command whose text that is."""
    return page.locator("article.card").filter(
        has=page.locator(".card-command").get_by_text(command, exact=True)
    )


def shot(page: Page, name: str) -> None:
    """Pictures in light and dark for whoever wants to look at them, where a folder is named."""
    if folder := os.environ.get("ORKESTR_TEST_SHOTS"):
        for scheme in ("light", "dark"):
            page.emulate_media(color_scheme=scheme)
            page.screenshot(path=Path(folder) / f"{name}-{scheme}.png", animations="disabled")


def watched(page: Page) -> list[str]:
    """Collects what the browser complains about from now on: refused scripts, thrown errors."""
    complaints: list[str] = []
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on(
        "console",
        lambda message: complaints.append(message.text) if message.type == "error" else None,
    )
    return complaints
