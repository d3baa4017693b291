"""Output, names and viewers that mean harm: shown as they are or refused, nothing run or frozen."""

from __future__ import annotations

import re
import time

import httpx
import pytest
from django.contrib.sessions.models import Session
from django.test import Client
from django.utils import timezone
from orkestr import Sandbox
from orkestr._client import OrkestrClient
from playwright.sync_api import Page, expect
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect
from websockets.typing import Origin

from accounts.models import Membership, Role
from tests.cast import Cast
from tests.console.pages import card, open_timeline, watched
from tests.console.terminals import SignedIn
from tests.console.test_pages_timeline import _fill
from tests.stack import Stack
from timeline.events import SYSTEM, Kind, NewEvent, now_us
from timeline.selectors import last_seq
from timeline.services import events_append

ESCAPES = (
    r"\033]0;owned\007\033]52;c;ZXZpbA==\007\033[2J\033[999;999Hlow\033[31mred\033[0m"
    r"\033]8;;javascript:alert(1)\033\\link\033]8;;\033\\"
)
MARKUP = "<img src=x onerror=alert(1)><script>alert(2)</script>&lt;b&gt;"


def _cookies(page: Page) -> dict[str, str]:
    return {str(one.get("name")): str(one.get("value")) for one in page.context.cookies()}


def test_hostile_output_names_and_metadata_are_shown_as_they_are(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(
        template="debian-12",
        timeout_seconds=600,
        client=sandbox_client,
        metadata={"run": f'"{MARKUP}'[:60]},
    )
    complaints = watched(page)
    page.on("dialog", lambda dialog: complaints.append(dialog.message))
    open_timeline(page, account.owner, sandbox.id)
    title = page.title()
    expect(page.locator("#details")).to_contain_text(f'"{MARKUP}'[:60])
    assert page.locator("#details").locator("img, script, b").count() == 0
    sandbox.exec(f"printf '{ESCAPES}\\n'; printf 'a\\342\\200\\256b\\342\\200\\213c\\n'")
    sandbox.exec(f"echo '{MARKUP}'")
    sandbox.files.write(f"/workspace/{MARKUP.replace('/', '_')}", "x")
    # A character in two pieces, and bytes that are none.
    sandbox.exec(r"printf '\342'; sleep 0.2; printf '\202\254 \377\376 end\n'")

    shown = card(page, f"echo '{MARKUP}'")
    expect(shown.locator(".out")).to_have_text(f"{MARKUP}\n")
    expect(page.locator('[data-kind="file.written"]')).to_contain_text("<img src=x")
    expect(page.locator(".out", has_text="low").locator(".ansi-fg-1")).to_have_text("red")
    expect(page.locator(".out", has_text="U+202E")).to_contain_text("U+200B")
    expect(page.locator(".out", has_text="€")).to_contain_text("end")
    assert page.locator(".tl-rows img, .tl-rows script, .tl-rows a[href^=javascript]").count() == 0
    assert page.title() == title
    assert complaints == []


def test_a_line_of_100_mb_is_cut_loads_further_and_freezes_nothing(
    page: Page, account: Cast, stack: Stack, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12", timeout_seconds=600, client=sandbox_client)
    timeline = open_timeline(page, account.viewer, sandbox.id)
    line = "head -c 100000000 /dev/zero | tr '\\0' x; echo $TOKEN"
    secret = "a-secret-value-nobody-sees"
    for _ in sandbox.exec_stream(line, timeout_seconds=60, env={"TOKEN": secret}):
        pass
    seen = card(page, line)
    expect(seen.locator(".exit .pill")).to_contain_text("exit 0", timeout=30_000)
    newest = str(last_seq(sandbox_id=sandbox.id))
    expect(timeline).to_have_attribute("data-verified", newest, timeout=30_000)
    left = seen.locator(".out-left")
    expect(left).to_contain_text("bytes of output are not on the timeline")
    left.get_by_role("button", name="Load", exact=True).click()
    expect(seen.locator(".out-rest")).to_have_text(re.compile(r"^x{200000,}$"), timeout=15_000)
    expect(seen.get_by_role("button", name="Load more")).to_be_visible()

    cookies = _cookies(page)
    span = seen.get_attribute("data-span")
    path = f"{stack.url}/sandboxes/{sandbox.id}/commands/{span}"
    count, tail = 0, b""
    with httpx.stream("GET", f"{path}/output/", cookies=cookies, timeout=60) as answer:
        assert answer.headers["content-disposition"] == f'attachment; filename="{span}.txt"'
        for chunk in answer.iter_bytes():
            count, tail = count + len(chunk), (tail + chunk)[-100:]
    assert count == 100_000_000 + len("[masked]\n")
    assert tail.endswith(b"x[masked]\n")
    for wrong in (f"{path}x/output/", f"{path}/rest/?from=-1"):
        assert httpx.get(wrong, cookies=cookies).status_code in (400, 404)


def test_ten_thousand_events_at_once_leave_the_page_usable(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12", timeout_seconds=600, client=sandbox_client)
    timeline = open_timeline(page, account.viewer, sandbox.id)
    page.evaluate(
        """() => {
          let last = performance.now();
          window.longest = 0;
          const look = () => {
            window.longest = Math.max(window.longest, performance.now() - last);
            last = performance.now();
            requestAnimationFrame(look);
          };
          look();
        }"""
    )
    for part in range(10):
        _fill(sandbox.id, lines=998, name=f"flood{part}")
    newest = str(last_seq(sandbox_id=sandbox.id))
    expect(timeline).to_have_attribute("data-verified", newest, timeout=60_000)
    assert page.locator(".tl-rows").evaluate("e => e.querySelectorAll('[data-seq]').length") < 1500
    assert page.evaluate("window.longest") < 5000
    began = time.monotonic()
    page.keyboard.press("f")
    expect(timeline).to_have_attribute("data-live", "held")
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("path", ["fleet/", "sandboxes/", "sandboxes/{}/timeline/"])
def test_a_socket_from_another_site_or_of_nobody_is_refused_and_a_session_that_runs_out_ends_it(
    account: Cast, other_account: Cast, stack: Stack, path: str
) -> None:
    sandbox_id = account.ended_sandbox()
    events_append(sandbox_id=sandbox_id, events=[NewEvent(Kind.SANDBOX_CREATED, {})])
    url = f"{stack.url}/ws/{path.format(sandbox_id)}".replace("http", "ws", 1)
    owner, stranger = SignedIn(stack, account.owner), SignedIn(stack, other_account.owner)
    address = url.removeprefix(stack.url.replace("http", "ws", 1))
    assert owner.socket(address, origin="https://evil.example") == 403
    assert SignedIn(stack, None).socket(address) == 4401
    if "{}" in path:
        assert stranger.socket(address) == 4404
    cookie = f"orkestr_session={owner.session_key}"
    headers = {"Cookie": cookie}
    with connect(url, additional_headers=headers, origin=Origin(stack.url)) as socket:
        assert socket.recv(timeout=30)
        Session.objects.filter(session_key=owner.session_key).update(expire_date=timezone.now())
        with pytest.raises(ConnectionClosed) as told:
            while True:
                socket.recv(timeout=15)
    assert told.value.rcvd is not None
    assert told.value.rcvd.code == 4401
    assert owner.socket(address) == 4401


def test_clocks_that_jump_leave_the_order_and_every_way_through_the_run(
    page: Page, account: Cast
) -> None:
    """Back by fifty years, forward by a hundred, and half a second before the run began."""
    sandbox_id = account.ended_sandbox()
    now, year = now_us(), 365 * 86_400_000_000
    jumps = (0, -50 * year, 100 * year, -500_000, 1_000_000)
    for number, jump in enumerate(jumps):
        span, at = f"cmd_{number}", now + jump
        data = {"command": f"step {number}", "cwd": "/"}
        ended = {"exit_code": 0, "signal": None, "duration_ms": 5, "timed_out": False}
        text = {"stream": "stdout", "text": f"said {number}\n", "bytes": 7, "offset": 0}
        events = [
            NewEvent(Kind.COMMAND_STARTED, data, SYSTEM, span, at),
            NewEvent(Kind.COMMAND_OUTPUT, text, SYSTEM, span, at - 10),
            NewEvent(Kind.COMMAND_EXITED, ended, SYSTEM, span, at - 20),
        ]
        events_append(sandbox_id=sandbox_id, events=events)
    complaints = watched(page)
    timeline = open_timeline(page, account.viewer, sandbox_id)
    expect(timeline).to_have_attribute("data-verified", str(3 * len(jumps)))
    commands = page.locator(".card-command")
    expect(commands).to_have_text([f"step {number}" for number in range(len(jumps))])
    for number in range(len(jumps)):
        shown = card(page, f"step {number}")
        expect(shown).to_have_attribute("data-state", "ok")
        expect(shown.locator(".out")).to_have_text(f"said {number}\n")
    track = page.get_by_role("slider", name="Moment of the run")
    for key in ("Home", "ArrowRight", "PageUp", "End"):
        track.press(key)
        expect(commands).to_have_count(len(jumps))
    page.get_by_label("Speed of the replay").select_option("64")
    page.get_by_role("button", name="Replay", exact=True).click()
    expect(commands).to_have_count(len(jumps))
    page.keyboard.press("End")
    for path in ("metrics/", "files/?at=99999999999999", "export/html/", "export/cast/", "strip/"):
        assert page.request.get(f"/sandboxes/{sandbox_id}/{path}").ok, path
    assert complaints == []


def test_a_role_lowered_while_connected_acts_no_more(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12", client=sandbox_client)
    open_timeline(page, account.operator, sandbox.id)
    Membership.objects.filter(account=account.account, user=account.operator).update(
        role=Role.VIEWER
    )
    page.get_by_role("button", name="Terminate", exact=True).click()
    page.get_by_role("dialog").get_by_role("button", name="Terminate sandbox").click()
    expect(page.get_by_text(re.compile("role|allowed|may", re.IGNORECASE)).first).to_be_visible()
    assert Sandbox.get(sandbox.id, client=sandbox_client).status == "running"


def test_metadata_that_would_turn_its_direction_around_says_so(
    account: Cast, client: Client
) -> None:
    pair = {"agent": "safe\u202egnp.exe"}
    sandbox = account.running_sandbox(metadata=pair)
    client.force_login(account.viewer)
    for path in ("/", "/sandboxes/", f"/sandboxes/{sandbox.id}/", f"/compare/?a={sandbox.id}"):
        page = client.get(path).content.decode()
        assert "safe⟨U+202E⟩gnp.exe" in page, path
        assert "\u202e" not in page, path
