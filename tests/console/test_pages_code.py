"""Cells of code on the timeline, in a real browser."""

from __future__ import annotations

from orkestr import Sandbox
from orkestr._client import OrkestrClient
from playwright.sync_api import Page, expect

from tests.cast import Cast
from tests.console.pages import SECONDS, card, open_timeline, watched

FIGURE = """import matplotlib.pyplot as plt, pandas as pd
plt.plot([1, 3, 2])
print("drawn")
pd.DataFrame({"city": ["<img src=x onerror=alert(1)>"]})"""


def test_a_cell_is_a_card_with_its_output_figure_and_error(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="code-interpreter", client=sandbox_client)
    complaints = watched(page)
    open_timeline(page, account.owner, sandbox.id)
    sandbox.run_code(FIGURE)
    drawn = page.locator("article.card[data-kind='code.run']").first
    expect(drawn).to_have_attribute("data-state", "ok", timeout=30 * SECONDS)
    expect(drawn.locator(".card-command")).to_have_text(FIGURE)
    expect(drawn.locator("[data-kind='code.output']")).to_have_text("drawn\n")
    image = drawn.locator("[data-kind='code.result'] img")
    assert image.evaluate("e => e.decode().then(() => e.naturalWidth)") > 300
    source = drawn.locator("details", has_text="HTML")
    source.locator("summary").click()
    expect(source.locator("pre")).to_contain_text("<td>&lt;img src=x onerror=alert(1)&gt;</td>")
    assert drawn.locator("table").count() == 0
    sandbox.run_code("1 / 0")
    failed = card(page, "1 / 0")
    expect(failed).to_have_attribute("data-state", "bad")
    expect(failed.locator(".exit .pill")).to_contain_text("ZeroDivisionError")
    expect(failed.locator(".cell-error pre")).to_contain_text("----> 1 1 / 0")
    assert complaints == []
    page.reload()
    expect(page.locator(".cell-part img")).to_be_visible()
    expect(card(page, "1 / 0")).to_have_attribute("data-state", "bad")
