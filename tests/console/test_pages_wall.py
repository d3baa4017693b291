"""The overview in the browser: what runs, what needs a person first, live through one socket."""

from __future__ import annotations

import re
from datetime import timedelta

from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone
from playwright.sync_api import Page, expect

from accounts.models import Membership
from sandboxes.models import Sandbox, Status
from sandboxes.signals.services import signals_look
from sandboxes.usage.models import Sample
from tests.cast import Cast
from tests.commands import run_commands
from tests.console.pages import shot, sign_in, watched
from tests.console.terminals import SignedIn
from tests.stack import Stack


def _fleet(account: Cast) -> dict[str, Sandbox]:
    """Some that are well, one that is stuck, one that ends soon, one that is held."""
    now = timezone.now()
    runs = {
        "calm": account.running_sandbox(metadata={"agent_run": "r_108", "team": "search"}),
        "busy": account.running_sandbox(template="python-3.12"),
        "ends": account.running_sandbox(expires_at=now + timedelta(seconds=100)),
        "held": account.running_sandbox(
            status=Status.PAUSED, held_at=now, held_by={"type": "person", "name": "Ada"}
        ),
        "stuck": account.running_sandbox(template="node-22", metadata={"agent_run": "r_111"}),
    }
    run_commands(runs["calm"].id, ("pip install -r requirements.txt", 0), ("pytest -q", 0))
    run_commands(runs["busy"].id, ("python train.py --epochs 40 --out /tmp/model", None))
    run_commands(runs["ends"].id, ("curl -s http://localhost:8000/healthz", 7))
    run_commands(runs["stuck"].id, *[("npm run build -- --mode production", 2)] * 4)
    signals_look()
    for number, run in enumerate(runs.values()):
        _use(run, number)
    return runs


def _use(run: Sandbox, number: int) -> None:
    slot = int(timezone.now().timestamp()) // 10 * 10 - 290
    cpu = memory = 0
    for step in range(29):
        cpu += 10_000_000 * ((step * (number + 3)) % 11) // 12
        memory += 1024 * (200 + 20 * step) * 10_000
        at = timezone.now() - timedelta(seconds=290 - 10 * step)
        values = {"slot": slot + 10 * step, "at": at, "cpu_us": cpu, "memory_kib_ms": memory}
        Sample.objects.create(sandbox=run, generation=1, **values)


def test_what_needs_attention_is_on_top_and_everything_stays_live(
    page: Page, account: Cast, stack: Stack
) -> None:
    complaints = watched(page)
    runs = _fleet(account)
    sign_in(page, account.viewer)
    expect(page.locator(".socket .open")).to_be_visible()
    rows = page.locator(".wall-row")
    order = [runs[name].id for name in ("stuck", "ends", "held", "busy", "calm")]
    expect(rows).to_have_count(5)
    assert rows.evaluate_all("rows => rows.map((row) => row.dataset.sandbox)") == order
    stuck = page.locator(f"#row-{runs['stuck'].id}")
    expect(stuck).to_contain_text("npm run build -- --mode production ran 4 times in a row")
    expect(stuck).to_have_attribute("data-tone", "bad")
    expect(page.locator(f"#row-{runs['held'].id}")).to_contain_text("Ada holds it.")
    expect(page.locator(f"#row-{runs['busy'].id}")).to_contain_text(re.compile(r"running \d"))
    expect(page.locator(f"#row-{runs['calm'].id} .curve polyline")).to_have_count(2)
    shot(page, "wall")
    page.set_viewport_size({"width": 390, "height": 844})
    shot(page, "wall-phone")
    page.set_viewport_size({"width": 1280, "height": 800})

    page.mouse.move(5, 5)
    for number in range(4):
        run_commands(runs["calm"].id, (f"make check-{number}", 1))
    calm = page.locator(f"#row-{runs['calm'].id}")
    expect(calm).to_contain_text("The last 4 commands failed.")
    expect(rows.nth(1)).to_have_id(f"row-{runs['calm'].id}")
    made = account.running_sandbox()
    expect(page.locator(f"#row-{made.id}")).to_be_visible()
    Sandbox.objects.filter(id=made.id).update(status=Status.TERMINATED, ended_at=timezone.now())
    expect(page.locator(f"#row-{made.id}")).to_have_count(0)

    page.keyboard.press("j")
    page.keyboard.press("j")
    expect(calm.locator("a.whole")).to_be_focused()
    run_commands(runs["calm"].id, ("true", 0))
    expect(calm).to_contain_text("true")
    expect(calm.locator("a.whole")).to_be_focused()
    expect(page.get_by_text("The order waits while you are in the list.")).to_be_visible()
    expect(rows.nth(1)).to_have_id(f"row-{runs['calm'].id}")
    assert complaints == []

    stack.kill("asgi")
    expect(page.locator(".socket .away")).to_be_visible()
    run_commands(runs["calm"].id, ("echo while away", 0))
    stack.start("asgi")
    expect(calm).to_contain_text("echo while away", timeout=30_000)
    expect(page.locator(".socket .open")).to_be_visible()
    page.keyboard.press("Enter")
    page.wait_for_url(f"**/sandboxes/{runs['calm'].id}/")


def test_an_empty_wall_shows_the_next_step_and_fills_by_itself(page: Page, account: Cast) -> None:
    sign_in(page, account.owner)
    expect(page.get_by_role("heading", name="No sandbox yet")).to_be_visible()
    expect(page.get_by_text("ORKESTR_BASE_URL=http")).to_be_visible()
    shot(page, "wall-empty")
    page.set_viewport_size({"width": 390, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    page.get_by_role("link", name="Mint a token").click()
    expect(page.locator("#mint").get_by_label("Name")).to_have_value("first steps")
    page.get_by_role("button", name="Mint token").click()
    expect(page.locator("#snippet-python")).to_contain_text('["ORKESTR_API_KEY"] = "ork_')
    page.goto("/")
    run = account.running_sandbox()
    expect(page.locator(f"#row-{run.id}")).to_be_visible()
    expect(page.get_by_role("heading", name="No sandbox yet")).to_be_hidden()
    Sandbox.objects.filter(id=run.id).update(status=Status.TERMINATED, ended_at=timezone.now())
    expect(page.get_by_role("heading", name="Nothing is running")).to_be_visible()


def test_the_wall_ends_with_the_session_and_with_the_membership(
    page: Page, account: Cast, other_account: Cast
) -> None:
    sign_in(page, account.operator)
    expect(page.locator(".socket .open")).to_be_visible()
    keys = [cookie["value"] for cookie in page.context.cookies()]
    Session.objects.filter(session_key__in=keys).delete()
    page.wait_for_url("**/login/**")
    sign_in(page, account.viewer)
    expect(page.locator(".socket .open")).to_be_visible()
    theirs = other_account.running_sandbox()
    mine = account.running_sandbox()
    expect(page.locator(f"#row-{mine.id}")).to_be_visible()
    expect(page.locator(f"#row-{theirs.id}")).to_have_count(0)
    Membership.objects.filter(account=account.account, user=account.viewer).delete()
    expect(page.get_by_text("You are not a member of any account yet.")).to_be_visible()


def test_nobody_watches_the_wall_without_signing_in(stack: Stack) -> None:
    assert SignedIn(stack, None).socket("/ws/fleet/") == 4401


def test_the_wall_is_a_plain_page_without_scripts(account: Cast) -> None:
    runs = _fleet(account)
    client = Client()
    client.force_login(account.viewer)
    html = client.get("/").content.decode()
    order = re.findall(r'data-sandbox="([^"]+)"', html)
    assert order == [runs[name].id for name in ("stuck", "ends", "held", "busy", "calm")]
    assert f'href="/sandboxes/{runs["stuck"].id}/#e' in html
    assert re.search(r"4</a>\s*<small>of \d+</small>", html)
    assert "<script>alert" not in html


def test_what_sandboxes_say_is_text_on_the_wall(account: Cast) -> None:
    run = account.running_sandbox(metadata={"<img src=x>": "<script>alert(1)</script>"})
    run_commands(run.id, *[("echo '<b>'; \u202e reversed", 1)] * 3)
    signals_look()
    client = Client()
    client.force_login(account.owner)
    html = client.get("/").content.decode()
    assert "<img" not in html
    assert "<script>alert" not in html
    assert "<b>&#x27;" not in html
    assert "\u202e" not in html
