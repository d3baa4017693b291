"""Two runs beside each other."""

from __future__ import annotations

from django.test import Client
from orkestr import Sandbox
from orkestr._client import OrkestrClient
from playwright.sync_api import Page, expect

from console.comparing import compare, outputs_diff
from sandboxes.models import Sandbox as Row
from tests.cast import Cast
from tests.console.pages import shot, sign_in, watched


def test_two_runs_are_aligned_and_what_differs_is_said(
    page: Page, account: Cast, other_account: Cast, sandbox_client: OrkestrClient
) -> None:
    runs = [Sandbox.create(template="debian-12", client=sandbox_client) for _ in range(2)]
    for number, run in enumerate(runs):
        run.exec("echo same")
        run.files.write("/workspace/<b>.txt", "x" * (number + 1))
        if number:
            run.exec("echo only here")
        run.exec("echo $HOSTNAME; cat '/workspace/<b>.txt'")
        run.exec("echo end > /tmp/x; exit $(wc -c < '/workspace/<b>.txt')")
    first, second = runs
    comparison = compare(Row.objects.get(id=first.id), Row.objects.get(id=second.id))
    shapes = [(bool(p.left), bool(p.right), p.differs) for p in comparison.pairs]
    assert shapes == [
        (True, True, False),
        (False, True, True),
        (True, True, True),
        (True, True, True),
    ]
    assert [(file.left, file.right) for file in comparison.files] == [(1, 2)]

    complaints = watched(page)
    sign_in(page, account.viewer, to=f"/sandboxes/{first.id}/")
    page.get_by_role("link", name="Compare with another run").click()
    expect(page.get_by_text("Choose two runs")).to_be_visible()
    shot(page, "compare-empty")
    page.get_by_label("Second run").select_option(second.id)
    page.get_by_role("button", name="Compare").click()
    page.wait_for_url(f"**/compare/?a={first.id}&b={second.id}")
    expect(page.get_by_text("4 differences")).to_be_visible()
    expect(page.locator(".cmp-row").nth(2)).to_contain_text("not in this run")
    expect(page.locator(".cmp-row").nth(4)).to_contain_text("different end")
    page.get_by_text("Outputs, line by line").first.click()
    added = page.locator("tr[data-line='added']").first
    expect(added).to_contain_text("xx")
    shot(page, "compare")
    page.set_viewport_size({"width": 390, "height": 800})
    shot(page, "compare-phone")
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.get_by_label("Differences only").check()
    page.get_by_role("button", name="Compare").click()
    expect(page.get_by_text("echo same")).to_have_count(0)
    assert complaints == []
    stranger = Client()
    stranger.force_login(other_account.owner)
    assert stranger.get(f"/compare/?a={first.id}").status_code == 404
    mine = Client()
    mine.force_login(account.viewer)
    assert mine.get(f"/compare/outputs/?a={first.id}&aseq=1&b=x").status_code == 404
    assert mine.get(f"/compare/outputs/?a={first.id}&aseq=1&b={first.id}&bseq=1").status_code == 404


def test_outputs_of_any_size_are_compared_within_bounds() -> None:
    many = [str(number) for number in range(100_000)]
    diff = outputs_diff("\n".join(many), "\n".join(many[::-1]))
    assert 0 < diff.count("\n") < 3000
    assert outputs_diff("a\nb", "a\nb") == ""
