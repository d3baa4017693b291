"""What the tests of terminals in a browser share."""

from __future__ import annotations

import asyncio
import re
from urllib.parse import urlsplit

import httpx
from django.test import Client
from playwright.sync_api import Locator, Page, expect

from accounts.models import User
from tests.console.pages import sign_in
from tests.loops import no_running_loop
from tests.stack import Stack


def open_terminal(page: Page, user: User, sandbox_id: str) -> Locator:
    """Signed in, in a new terminal that this page drives; its screen."""
    sign_in(page, user, to=f"/sandboxes/{sandbox_id}/terminal/")
    page.get_by_role("button", name="Open a terminal").click()
    return drives(page)


def drives(page: Page) -> Locator:
    """The screen of a terminal that this page drives, at its prompt."""
    expect(page.locator("[data-part=driver]")).to_have_text("You drive", timeout=20_000)
    shows(page, "#")
    return screen(page)


def screen(page: Page) -> Locator:
    return page.locator(".xterm-rows")


def shows(page: Page, text: str) -> None:
    """Waits until the screen has it."""
    expect(screen(page)).to_contain_text(text, timeout=15_000)


def type_line(page: Page, text: str) -> None:
    """As a person does, with Enter."""
    page.locator(".xterm-helper-textarea").focus()
    page.keyboard.type(text)
    page.keyboard.press("Enter")


def terminal_of(page: Page) -> str:
    """The id in the address."""
    found = re.search(r"t=(trm_\w+)", page.url)
    assert found, page.url
    return found[1]


def watches(page: Page, *, driver: str) -> None:
    """Waits until the page is connected, and somebody else drives."""
    expect(page.locator("[data-part=link]")).to_have_text("Live", timeout=20_000)
    expect(page.locator("[data-part=driver]")).to_have_text(f"{driver} drives")


class SignedIn:
    """A script of somebody's, against the real server. Answers are statuses and close codes."""

    def __init__(self, stack: Stack, user: User | None) -> None:
        client = Client()
        if user is not None:
            client.force_login(user)
        self._cookies = {name: morsel.value for name, morsel in client.cookies.items()}
        self._url = stack.url

    @property
    def session_key(self) -> str:
        return self._cookies["orkestr_session"]

    def get(self, path: str) -> int:
        return httpx.get(self._url + path, cookies=self._cookies).status_code

    def post(self, path: str) -> int:
        token = "c" * 32
        cookies = {**self._cookies, "orkestr_csrf": token}
        headers = {"X-CSRFToken": token, "Origin": self._url}
        return httpx.post(self._url + path, cookies=cookies, headers=headers).status_code

    def socket(self, path: str, *, origin: str = "") -> int:
        """The code that a websocket is closed with, or the status with which it is refused."""
        cookies = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        with no_running_loop():
            return asyncio.run(_closing(self._url, path, cookies, origin or self._url))


async def _closing(url: str, path: str, cookies: str, origin: str) -> int:
    address = urlsplit(url)
    reader, writer = await asyncio.open_connection(address.hostname, address.port)
    try:
        head = (
            f"GET {path} HTTP/1.1\r\nHost: {address.netloc}\r\nOrigin: {origin}\r\n"
            f"Cookie: {cookies}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            "Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Version: 13\r\n\r\n"
        )
        writer.write(head.encode())
        async with asyncio.timeout(10):
            status = int((await reader.readuntil(b"\r\n\r\n")).split()[1])
            return await _close_code(reader) if status == 101 else status
    finally:
        writer.close()


async def _close_code(reader: asyncio.StreamReader) -> int:
    while True:
        kind, size = await reader.readexactly(2)
        if size == 126:
            size = int.from_bytes(await reader.readexactly(2), "big")
        payload = await reader.readexactly(size)
        if kind & 0x0F == 8:
            return int.from_bytes(payload[:2], "big")
