"""What a sandbox's page costs its reader, and where its parts come from."""

from __future__ import annotations

import gzip
import re
from pathlib import Path
from urllib.parse import urlsplit

import httpx
from orkestr import Sandbox
from orkestr._client import OrkestrClient
from playwright.sync_api import Page, Response, expect

from tests.cast import Cast
from tests.console.pages import open_timeline

ROOT = Path(__file__).parents[2]
BUDGET = 120 * 1024


def _weight(response: Response) -> int:
    body = response.body()
    packed = urlsplit(response.url).path.endswith(".woff2")
    return len(body) if packed else len(gzip.compress(body))


def test_a_sandboxes_page_stays_light(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12", client=sandbox_client)
    sandbox.exec("ls -la /")
    open_timeline(page, account.owner, sandbox.id)
    seen: dict[str, Response] = {}

    def remember(response: Response) -> None:
        seen[response.url] = response

    fresh = page.context.new_page()
    fresh.on("response", remember)
    fresh.goto(page.url)
    expect(fresh.locator("#timeline")).to_have_attribute("data-live", "live")
    fresh.wait_for_load_state("networkidle")
    weights = {urlsplit(url).path: _weight(response) for url, response in seen.items()}
    assert sum(weights.values()) <= BUDGET, weights
    assert all(httpx.URL(url).host == "127.0.0.1" for url in seen)
    scripts = [path for path in weights if path.endswith(".js")]
    assert all(re.search(r"\.[0-9a-f]{12}\.js$", path) for path in scripts), "each under one name"


def test_the_lock_file_names_no_registry() -> None:
    lock = (ROOT / "package-lock.json").read_text()
    assert '"resolved"' not in lock
    assert '"integrity"' in lock
