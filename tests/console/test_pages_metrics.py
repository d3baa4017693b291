"""The Metrics tab in a real browser: what a sandbox uses, with what ran meanwhile."""

from __future__ import annotations

from orkestr import Sandbox
from orkestr._client import OrkestrClient
from playwright.sync_api import Page, expect

from tests.cast import Cast
from tests.console.pages import sign_in, watched
from tests.waiting import until


def test_use_is_drawn_live_with_commands_and_turns(
    page: Page, account: Cast, other_account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12", client=sandbox_client)
    complaints = watched(page)
    sign_in(page, account.viewer, to=f"/sandboxes/{sandbox.id}/")
    page.goto(f"/sandboxes/{sandbox.id}/metrics/")
    expect(page.locator(".box-tabs [aria-current]")).to_have_text("Metrics")
    sandbox.exec("timeout 2 sh -c 'while :; do :; done'")
    charts = page.locator("#metrics canvas")
    expect(charts).to_have_count(2, timeout=15_000)
    expect(charts.first).to_be_visible()
    expect(page.locator("[data-part='memory-now']")).to_contain_text("MB")
    expect(page.locator("[data-part='sums']")).to_contain_text("1 command.", timeout=30_000)
    shown = int(page.locator("#metrics").get_attribute("data-points") or 0)
    expect(page.locator("#metrics")).not_to_have_attribute("data-points", str(shown))
    answer = page.request.get(f"/sandboxes/{sandbox.id}/metrics/chart/").json()
    assert max(cores for _, cores, _ in answer["samples"]) > 0.02
    (command,) = answer["commands"]
    assert command["state"] == "bad"
    assert command["end"] - command["begin"] > 1.5
    assert [turn["word"] for turn in answer["turns"]] == ["created", "running"]
    sandbox.pause()
    page.reload()
    expect(page.locator("[data-part='state']")).to_contain_text("Paused")
    sandbox.terminate()
    page.reload()
    expect(page.locator("[data-part='state']")).to_contain_text("its whole run")
    expect(charts.first).to_be_visible()

    def all_is_there() -> bool:
        """The last sample of a run is counted within seconds of its end."""
        whole = page.request.get(f"/sandboxes/{sandbox.id}/metrics/chart/").json()
        used = sum((end - begin) * cores for begin, end, cores, _ in whole["history"])
        return bool(abs(used - whole["cpu_seconds"]) <= 0.02)

    until(all_is_there, what="the history adds up to what the run used")
    page.get_by_role("button", name="Last 5 minutes").click()
    expect(page.get_by_role("button", name="Last 5 minutes")).to_have_attribute(
        "aria-pressed", "true"
    )
    expect(page.locator("[data-part='sums']")).to_contain_text("of processor time")
    assert complaints == []
    page.context.clear_cookies()
    sign_in(page, other_account.owner)
    for part in ("", "chart/"):
        assert page.request.get(f"/sandboxes/{sandbox.id}/metrics/{part}").status == 404
