"""A sandbox's terminal in real browsers: typing, watching, taking over, and what interrupts it."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import suppress

import orjson
import pytest
from django.contrib.sessions.models import Session
from orkestr import Sandbox
from orkestr._client import OrkestrClient
from playwright.sync_api import Browser, Page, expect

from accounts.models import AuditEntry, Membership, Role
from tests.cast import Cast
from tests.console.pages import SECONDS, sign_in, watched
from tests.console.terminals import (
    SignedIn,
    drives,
    open_terminal,
    screen,
    shows,
    terminal_of,
    type_line,
    watches,
)
from tests.stack import Stack
from tests.waiting import until

#: Resolves in a frame in which nothing is animated: else every echo would wait for a frame more.
STILL = """() => {
  const endless = (one) => one.effect.getTiming().iterations === Infinity;
  window.still = new Promise((done) => {
    const look = () => {
      if (document.getAnimations().some(endless)) requestAnimationFrame(look);
      else done();
    };
    look();
  });
}"""
_WELL = """() => {
  const one = document.body.appendChild(document.createElement('i'));
  one.style.color = 'var(--well)';
  const colour = getComputedStyle(one).color;
  one.remove();
  return colour;
}"""
PAUSED = "everything in this terminal is held still"


@pytest.fixture
def sandbox(sandbox_client: OrkestrClient) -> Sandbox:
    return Sandbox.create(template="debian-12", client=sandbox_client)


@pytest.fixture
def second(browser: Browser, stack: Stack) -> Iterator[Page]:
    """Somebody else's browser."""
    context = browser.new_context(base_url=stack.url)
    context.set_default_timeout(15_000)
    yield context.new_page()
    context.close()


def test_a_person_types_reloads_and_finds_it_all_recorded(
    page: Page, account: Cast, sandbox: Sandbox
) -> None:
    complaints = watched(page)
    open_terminal(page, account.operator, sandbox.id)
    type_line(page, "printf '\\e[1;31mr''ed\\e[0m \\e[38;2;1;200;90mtr''ue\\e[0m ünï 你好\\n'")
    shows(page, "red true ünï 你好")
    type_line(page, "printf '\\e[7mrever''sed\\e[0m\\n'")
    reversed_text = screen(page).locator("span", has_text=re.compile("^reversed$"))
    expect(reversed_text).to_have_css("color", _well(page))
    page.evaluate(STILL)
    type_line(page, "stty size")
    page.wait_for_function("window.still.then(() => true)")
    shows(page, rows_of(page))
    page.reload()
    drives(page)
    shows(page, "red true ünï 你好")
    rows = page.locator(".xterm-rows > div")
    before = rows.count()
    page.set_viewport_size({"width": 700, "height": 500})
    expect(rows).not_to_have_count(before)
    type_line(page, "clear; stty size; echo re''sized")
    shows(page, "resized")
    shows(page, rows_of(page))
    type_line(page, "exit 3")
    expect(page.locator("[data-part=ended]")).to_contain_text("exit code 3")
    page.get_by_role("link", name="Watch the recording").click()
    expect(page.locator("[data-part=clock]")).to_contain_text(re.compile(r"[1-9]\d* /|\d:0[1-9] /"))
    shows(page, "exit 3")
    page.locator("[data-part=position]").focus()
    page.keyboard.press("Home")
    page.get_by_label("Speed").select_option("16")
    page.get_by_role("button", name="Play").click()
    shows(page, "resized")
    expect(page.locator("[data-part=play]")).to_have_attribute("data-playing", "false")
    with page.expect_download() as downloading:
        page.get_by_role("link", name=".cast").click()
    lines = downloading.value.path().read_bytes().splitlines()
    assert orjson.loads(lines[0])["version"] == 2
    assert any("resized" in str(orjson.loads(line)[2]) for line in lines[1:])
    beside = page.context.new_page()
    beside.goto(f"/sandboxes/{sandbox.id}/")
    expect(beside.locator(".strip")).not_to_have_attribute("data-empty", "")
    beside.get_by_role("slider", name="Moment of the run").press("Home")
    expect(page.locator("[data-part=clock]")).to_have_text(re.compile(r"^0:00 /"))
    assert complaints == []
    actions = AuditEntry.objects.filter(target=sandbox.id).values_list("action", flat=True)
    assert "terminal.opened" in actions


def _well(page: Page) -> str:
    """The colour behind a terminal's text, as computed styles have it."""
    colour: str = page.evaluate(_WELL)
    return colour


def rows_of(page: Page) -> str:
    """As ``stty size`` begins for the screen that is shown."""
    return f"{page.locator('.xterm-rows > div').count()} "


def test_the_timeline_shows_it_as_one_card_with_what_people_typed(
    page: Page, account: Cast, sandbox: Sandbox
) -> None:
    open_terminal(page, account.operator, sandbox.id)
    terminal = terminal_of(page)
    type_line(page, "echo he''llo")
    shows(page, "hello")
    type_line(page, "stty -echo; echo go''ahead; read word; stty echo; echo le''n=${#word}")
    shows(page, "goahead")
    page.locator(".xterm-helper-textarea").press_sequentially("sesame", delay=30)
    page.keyboard.press("Enter")
    shows(page, "len=6")
    page.goto(f"/sandboxes/{sandbox.id}/")
    expect(page.locator("#timeline")).to_have_attribute("data-live", "live")
    card = page.locator(f"article.card[data-span='{terminal}']")
    title, status = (card.locator(f".card-{part}").bounding_box() for part in ("command", "status"))
    assert title and status and abs(title["y"] - status["y"]) < 6 and title["height"] < 40
    expect(card.locator(".in").first).to_contain_text("Operator")
    expect(card.locator(".in").first).to_contain_text("echo he''llo ⏎")
    expect(card).to_contain_text("typed 7 hidden characters")
    expect(card.locator(".out").last).to_contain_text("len=6")
    assert "sesame" not in page.content()
    expect(card).to_have_attribute("data-state", "running")
    card.get_by_role("link", name="Terminal and recording").click()
    drives(page)
    type_line(page, "exit")
    page.get_by_role("link", name="Timeline").click()
    expect(card).to_have_attribute("data-state", "ok")
    expect(card).to_contain_text("closed, exit 0")


def test_others_watch_and_take_over(
    page: Page, second: Page, account: Cast, sandbox: Sandbox
) -> None:
    open_terminal(page, account.operator, sandbox.id)
    sign_in(second, account.owner, to=f"/sandboxes/{sandbox.id}/terminal/")
    watches(second, driver="Operator")
    expect(page.locator("[data-part=watching]")).to_have_text("2 here")
    type_line(page, "echo fr''om-operator")
    shows(second, "from-operator")
    type_line(second, "echo not''yet")
    second.get_by_role("button", name="Take over").click()
    drives(second)
    watches(page, driver="Owner")
    type_line(second, "echo fr''om-owner; stty size")
    shows(page, "from-owner")
    expect(screen(page)).not_to_contain_text("notyet")
    second.get_by_role("link", name="Timeline").click()
    taken = second.locator("[data-kind='terminal.taken']")
    expect(taken).to_contain_text(re.compile(r"Owner took over a terminal\s+from Operator"))
    acts = AuditEntry.objects.filter(account=account.account, action="terminal.taken")
    until(acts.exists, what="taking over is on the audit record")
    assert (acts.get().actor["name"], acts.get().target) == ("Owner", sandbox.id)


def test_ones_own_other_window_is_not_somebody_else(
    page: Page, account: Cast, sandbox: Sandbox
) -> None:
    open_terminal(page, account.operator, sandbox.id)
    other = page.context.new_page()
    other.goto(page.url)
    driver, watching = (other.locator(f"[data-part={part}]") for part in ("driver", "watching"))
    expect(driver).to_have_text("You drive in another window", timeout=20 * SECONDS)
    for each in (page, other):
        expect(each.locator("[data-part=watching]")).to_have_text("only you here, in 2 windows")
    other.get_by_role("button", name="Drive here").click()
    drives(other)
    expect(page.locator("[data-part=driver]")).to_have_text("You drive in another window")
    expect(page.locator(".notice")).to_contain_text("This one goes on watching.")
    type_line(other, "echo fr''om-the-other")
    shows(page, "from-the-other")
    page.close()
    expect(watching).to_have_text("only you here")
    other.get_by_role("link", name="Timeline").click()
    taken = other.locator("[data-kind='terminal.taken']")
    expect(taken).to_contain_text("Operator took over a terminal")
    expect(taken).not_to_contain_text("from Operator")


def test_a_viewer_watches_and_a_lowered_role_stops_typing_within_a_second(
    page: Page, second: Page, account: Cast, sandbox: Sandbox
) -> None:
    open_terminal(page, account.operator, sandbox.id)
    sign_in(second, account.viewer, to=f"/sandboxes/{sandbox.id}/terminal/")
    watches(second, driver="Operator")
    expect(second.get_by_text("Your role watches")).to_be_visible()
    expect(second.get_by_role("button", name="Take over")).to_be_hidden()
    expect(second.get_by_role("button", name="New")).to_have_count(0)
    type_line(second, "echo by-vie''wer")
    membership = Membership.objects.get(account=account.account, user=account.operator)
    membership.role = Role.VIEWER
    membership.save()
    expect(page.get_by_text("Your role watches")).to_be_visible()
    type_line(page, "echo by-low''ered")
    membership.role = Role.OPERATOR
    membership.save()
    drives(page)
    type_line(page, "echo by-oper''ator")
    shows(second, "by-operator")
    expect(screen(second)).not_to_contain_text("by-viewer")
    expect(screen(second)).not_to_contain_text("by-lowered")
    Session.objects.filter(
        session_key__in=[cookie["value"] for cookie in second.context.cookies()]
    ).delete()
    second.wait_for_url("**/login/**")


def answers(page: Page, line: str, text: str) -> None:
    """What is typed before the page has noticed that its link is gone is lost, and typed again."""
    for _ in range(4):
        type_line(page, line)
        with suppress(AssertionError):
            expect(screen(page)).to_contain_text(text, timeout=5 * SECONDS)
            return
    shows(page, text)


def test_it_goes_on_when_the_server_and_the_host_are_killed(
    page: Page, stack: Stack, account: Cast, sandbox: Sandbox
) -> None:
    open_terminal(page, account.operator, sandbox.id)
    type_line(page, "name=kept; echo fir''st")
    shows(page, "first")
    stack.restart("host")
    drives(page)
    answers(page, "echo host-$name", "host-kept")
    stack.restart("asgi")
    expect(page.locator("[data-part=link]")).to_have_text("Live")
    drives(page)
    answers(page, "echo server-$name", "server-kept")
    shows(page, "first")


def test_what_is_typed_before_a_lost_link_is_noticed_is_typed_once_when_it_is_back(
    page: Page, stack: Stack, account: Cast, sandbox: Sandbox
) -> None:
    open_terminal(page, account.operator, sandbox.id)
    for number, (stands, dies) in enumerate([("asgi", "host"), ("asgi", "asgi")], 1):
        process = stack.pid(stands)
        os.kill(process, signal.SIGSTOP)  # nobody notices anything
        try:
            type_line(page, "echo ag''ain-$((n+=1))")
            if dies != stands:
                stack.kill(dies)
        finally:
            if dies != stands:
                os.kill(process, signal.SIGCONT)
        if dies != stands:
            stack.start(dies)
        else:
            stack.restart(dies)
        shows(page, f"again-{number}")
        drives(page)
    type_line(page, "echo to''tal-$n")
    shows(page, "total-2")


def test_a_paused_sandbox_says_so_and_offers_to_resume(
    page: Page, account: Cast, sandbox: Sandbox
) -> None:
    open_terminal(page, account.operator, sandbox.id)
    type_line(page, "sleep 1 && echo wo''ken")
    sandbox.pause()
    note = page.locator("[data-part=paused]")
    expect(note).to_contain_text(PAUSED)
    type_line(page, "echo in-be''tween")
    expect(page.locator(".notice")).to_contain_text("resume it first")
    note.get_by_role("button", name="Resume").click()
    drives(page)
    expect(note).to_be_hidden()
    shows(page, "woken")
    expect(screen(page)).not_to_contain_text("in-between")


def test_typing_wakes_a_sandbox_that_may_wake_by_itself(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12", auto_resume=True, client=sandbox_client)
    open_terminal(page, account.operator, sandbox.id)
    sandbox.pause()
    expect(page.locator("[data-part=paused]")).to_contain_text("Typing wakes it.")
    type_line(page, "echo a''wake")
    shows(page, "awake")
    expect(page.locator("[data-part=paused]")).to_be_hidden()


def test_it_ends_with_its_sandbox_and_the_recording_stays(
    page: Page, account: Cast, sandbox: Sandbox
) -> None:
    open_terminal(page, account.operator, sandbox.id)
    type_line(page, "echo last''words")
    shows(page, "lastwords")
    sandbox.terminate()
    expect(page.locator("[data-part=ended]")).to_be_visible()
    page.reload()
    shows(page, "lastwords")
    expect(page.locator("[data-part=player]")).to_be_visible()
    expect(page.get_by_role("button", name="New")).to_have_count(0)
    position = page.locator("[data-part=position]")
    expect(position).to_have_attribute("max", re.compile(r"[1-9]"))
    until(lambda: position.evaluate("e => e.value === e.max"), what="it stands at its end")
    page.goto(f"/sandboxes/{sandbox.id}/terminal/?at=1")
    expect(page.locator("#terminal")).to_have_attribute("data-ready", "")
    expect(position).to_have_value("0")


def test_hostile_output_stays_inert(page: Page, account: Cast, sandbox: Sandbox) -> None:
    sandbox.files.write(
        "/workspace/hostile",
        "\x1b]0;<img src=x onerror=alert(1)>\x07\x1b]52;c;aGFja2Vk\x07"
        "<script>document.title='taken'</script>\x1b[99999999;999999999H\x1b[?9999h"
        "\x1b]8;;javascript:alert(1)\x07click\x1b]8;;\x07 https://example.org/x \u202eevil\x1b[999T"
        + "\x1b]"
        + "A" * 100_000
        + "\x07"
        + "z" * 1_000_000
        + "\x1b[H\x1b[2Jcalm\n",
    )
    complaints = watched(page)
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    open_terminal(page, account.operator, sandbox.id)
    title = page.title()
    type_line(page, "cat hostile; printf '\\377\\300\\200\\n'; echo survi''ved")
    shows(page, "survived")
    shows(page, "calm")
    assert page.title() == title
    assert page.evaluate("navigator.clipboard.readText()") != "hacked"
    type_line(page, "clear; echo see https://example.org/''path")
    shows(page, "see https://example.org/path")
    place = page.locator(".xterm-rows span", has_text="example.org/path").last.bounding_box()
    assert place is not None
    page.mouse.move(place["x"] + place["width"] - 20, place["y"] + place["height"] / 2)
    expect(page.locator(".xterm-screen")).to_have_class(re.compile("pointer"))
    page.mouse.click(place["x"] + place["width"] - 20, place["y"] + place["height"] / 2)
    dialog = page.get_by_role("dialog", name="Open this address?")
    expect(dialog).to_contain_text("https://example.org/path")
    page.keyboard.press("Escape")
    assert complaints == []


def test_several_are_open_at_once_and_closing_asks_first(
    page: Page, account: Cast, sandbox: Sandbox
) -> None:
    open_terminal(page, account.operator, sandbox.id)
    first = terminal_of(page)
    page.get_by_role("button", name="New").click()
    page.wait_for_url(lambda url: "t=" in url and first not in url)
    drives(page)
    expect(page.locator("#terminal-list > a")).to_have_text(["Terminal 1", "Terminal 2"])
    page.get_by_role("button", name="Close this terminal").click()
    page.get_by_role("button", name="Keep it").click()
    page.get_by_role("button", name="Close this terminal").click()
    page.get_by_role("button", name="Close terminal").click()
    expect(page.locator("[data-part=player]")).to_be_visible()
    page.get_by_role("link", name="Terminal 1").click()
    drives(page)
    page.keyboard.press("Control+F6")
    expect(page.get_by_role("link", name="Terminal 1")).to_be_focused()


def test_another_accounts_terminal_is_not_there(
    stack: Stack, page: Page, account: Cast, other_account: Cast, sandbox: Sandbox
) -> None:
    open_terminal(page, account.operator, sandbox.id)
    path = f"/sandboxes/{sandbox.id}/terminal/"
    terminal = terminal_of(page)
    stranger = SignedIn(stack, other_account.owner)
    assert stranger.get(path) == 404
    assert stranger.get(f"{path}{terminal}/recording/") == 404
    assert stranger.post(f"{path}open/") == 404
    assert stranger.post(f"{path}{terminal}/close/") == 404
    viewer = SignedIn(stack, account.viewer)
    assert viewer.post(f"{path}open/") == 403
    assert viewer.post(f"{path}{terminal}/close/") == 403
    socket = f"/ws{path.removesuffix('terminal/')}terminals/{terminal}/"
    owner = SignedIn(stack, account.owner)
    assert stranger.socket(socket) == 4404
    assert SignedIn(stack, None).socket(socket) == 4401
    assert owner.socket(socket, origin="https://evil.example") == 403
    assert owner.socket(socket.replace(terminal, "trm_" + "0" * 26)) == 4410
