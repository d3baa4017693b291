"""A real sandbox's timeline, watched in a real browser."""

from __future__ import annotations

import json
import re

from orkestr import Sandbox
from orkestr._client import OrkestrClient
from playwright.sync_api import Page, WebSocketRoute, expect

from tests.cast import Cast
from tests.console.pages import card, open_timeline, shot, sign_in, watched
from tests.stack import Stack
from tests.waiting import until
from timeline.events import Actor, Kind, NewEvent
from timeline.selectors import last_seq
from timeline.services import events_append

AGENT = Actor("token", id="tok_1", name="agent", prefix="ork_abcdefgh")


#: Notes which rows go from the page though they were well inside what is shown a frame before.
_NOTE_WHAT_GOES = """() => {
  window.gone = [];
  const box = document.querySelector(".tl-scroll").getBoundingClientRect();
  let seen = [];
  const look = () => {
    window.gone.push(...seen.filter((row) => !row.isConnected).map((row) => row.outerHTML));
    seen = [...document.querySelectorAll(".tl-rows [data-seq]")].filter((row) => {
      const { top, bottom } = row.getBoundingClientRect();
      const clip = row.closest(".card-clip")?.getBoundingClientRect() ?? box;
      return bottom > Math.max(box.top, clip.top) + 150 && top < box.bottom - 150;
    });
    requestAnimationFrame(look);
  };
  look();
}"""


def _box(client: OrkestrClient) -> Sandbox:
    return Sandbox.create(template="debian-12", timeout_seconds=600, client=client)


def _fill(sandbox_id: str, *, lines: int, name: str = "filler") -> None:
    """One command with that many output events, as the platform would store them."""
    span = f"cmd_{name}"
    started = {"command_id": span, "command": name, "cwd": "/", "env_names": [], "pid": 7}
    events = [NewEvent(Kind.COMMAND_STARTED, started, AGENT, span)]
    for number in range(lines):
        data = {"stream": "stdout", "text": f"{name} {number}\n", "bytes": 12, "offset": 0}
        events.append(NewEvent(Kind.COMMAND_OUTPUT, data, AGENT, span))
    done = {"exit_code": 0, "signal": None, "duration_ms": 5, "timed_out": False}
    events.append(NewEvent(Kind.COMMAND_EXITED, done, AGENT, span))
    events_append(sandbox_id=sandbox_id, events=events)


def _reads(sandbox_id: str, *, count: int) -> None:
    data = {"path": "/workspace/notes.txt", "size": 3}
    events = [NewEvent(Kind.FILE_READ, data, AGENT) for _ in range(count)]
    events_append(sandbox_id=sandbox_id, events=events)


def _gap_below(page: Page) -> int:
    """Pixels between what is shown and the newest row."""
    return int(
        page.locator(".tl-scroll").evaluate("e => e.scrollHeight - e.scrollTop - e.clientHeight")
    )


def _comes_to_rest(page: Page) -> int:
    """Where it is scrolled to, once it has stayed there for some frames: a wheel turns smoothly."""
    place: int = page.locator(".tl-scroll").evaluate(
        """async (box) => {
          for (let still = 0, last = -1; still < 12; still++) {
            if (box.scrollTop !== last) still = 0;
            last = box.scrollTop;
            await new Promise(requestAnimationFrame);
          }
          return Math.round(box.scrollTop);
        }"""
    )
    return place


def test_it_shows_a_command_while_it_runs_and_how_it_ended(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = _box(sandbox_client)
    complaints = watched(page)
    timeline = open_timeline(page, account.owner, sandbox.id)
    command = "printf '\\033[1;32mgreen\\033[0m\\n'; echo oh >&2; read -r _ < /tmp/go; exit 3"
    sandbox.exec("mkfifo /tmp/go")
    running = sandbox.exec_stream(command, timeout_seconds=60)
    next(iter(running))

    seen = card(page, command)
    expect(seen).to_have_attribute("data-state", "running")
    expect(seen.locator(".ansi-fg-2.ansi-bold")).to_have_text("green")
    expect(seen.locator('[data-stream="stderr"]')).to_contain_text("oh")
    expect(seen.locator(".chip")).to_contain_text("test")

    sandbox.exec("echo > /tmp/go")
    expect(seen).to_have_attribute("data-state", "bad")
    expect(seen.locator(".exit .pill")).to_contain_text("exit 3")
    newest = last_seq(sandbox_id=sandbox.id)
    expect(timeline).to_have_attribute("data-verified", str(newest))
    expect(page.locator(".tl-rows [data-seq]")).to_have_count(newest)
    assert complaints == []


def test_a_reload_shows_what_was_watched_live(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = _box(sandbox_client)
    timeline = open_timeline(page, account.owner, sandbox.id)
    sandbox.files.write("/workspace/main.py", "print('made it')")
    sandbox.exec("cat /workspace/main.py && ls /nowhere")
    expect(page.locator(".exit .pill").last).to_contain_text("exit 2")
    expect(timeline).to_have_attribute("data-verified", str(last_seq(sandbox_id=sandbox.id)))
    rows = "e => [...e.querySelectorAll('[data-seq]')].map(r => [r.id, r.dataset.kind])"
    live = timeline.evaluate(rows)
    page.reload()
    expect(timeline).to_have_attribute("data-live", "live")
    until(lambda: timeline.evaluate(rows) == live, what="the same rows are shown")
    assert [kind for _, kind in live].count("file.written") == 1


def test_it_holds_still_while_the_stream_goes_on_and_returns_to_the_live_edge(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = _box(sandbox_client)
    _reads(sandbox.id, count=80)
    timeline = open_timeline(page, account.owner, sandbox.id)
    until(lambda: _gap_below(page) < 2, what="the newest row is in view")

    page.locator(".tl-scroll").hover()
    page.mouse.wheel(0, -500)
    expect(timeline).to_have_attribute("data-live", "held")
    before = _comes_to_rest(page)
    _reads(sandbox.id, count=37)
    expect(page.get_by_role("button", name="37 new")).to_be_visible()
    assert _comes_to_rest(page) == before
    expect(timeline).to_have_attribute("data-verified", str(last_seq(sandbox_id=sandbox.id)))

    page.keyboard.press("End")
    expect(timeline).to_have_attribute("data-live", "live")
    until(lambda: _gap_below(page) < 2, what="the newest row is in view")
    page.keyboard.press("f")
    expect(timeline).to_have_attribute("data-live", "held")
    _reads(sandbox.id, count=2)
    page.get_by_role("button", name="2 new").click()
    expect(timeline).to_have_attribute("data-live", "live")


def test_it_heals_after_the_connection_was_lost_and_says_what_it_fetched(
    page: Page, account: Cast, stack: Stack, sandbox_client: OrkestrClient
) -> None:
    sandbox = _box(sandbox_client)
    timeline = open_timeline(page, account.owner, sandbox.id)
    stack.kill("asgi")
    expect(timeline).to_have_attribute("data-live", "offline")
    _reads(sandbox.id, count=25)
    stack.start("asgi")
    expect(timeline).to_have_attribute("data-live", "live", timeout=30_000)
    expect(page.locator(".tl-healed")).to_contain_text("fetched 25 missed events")
    expect(page.locator('[data-kind="file.read"]')).to_have_count(25)
    expect(timeline).to_have_attribute("data-verified", str(last_seq(sandbox_id=sandbox.id)))


def test_a_long_run_stays_bounded_and_loads_back_what_it_dropped(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = _box(sandbox_client)
    open_timeline(page, account.owner, sandbox.id)
    for part in range(22):
        _fill(sandbox.id, lines=90, name=f"part{part}")
    expect(card(page, "part21").locator(".exit .pill")).to_contain_text("exit 0")
    count = "e => e.querySelectorAll('[data-seq]').length"
    rows = page.locator(".tl-rows")
    assert rows.evaluate(count) < 1500
    expect(card(page, "part0")).to_have_count(0)

    page.locator(".tl-scroll").hover()

    def at_the_start() -> bool:
        page.mouse.wheel(0, -2000)
        assert rows.evaluate(count) < 1500
        return page.locator("#e1").count() == 1

    until(at_the_start, seconds=90, what="scrolling up loads the first event")
    shown = "e => [...e.querySelectorAll('[data-seq]')].map(r => +r.dataset.seq)"
    seqs = sorted(rows.evaluate(shown))
    assert seqs == list(range(1, len(seqs) + 1))
    page.keyboard.press("End")
    expect(card(page, "part21").locator(".exit .pill")).to_be_visible()


def test_nothing_in_view_goes_while_a_command_with_more_outputs_than_a_page_holds_is_passed(
    page: Page, account: Cast
) -> None:
    sandbox_id = account.ended_sandbox()
    _fill(sandbox_id, lines=3, name="before")
    _fill(sandbox_id, lines=1500, name="flood")
    _fill(sandbox_id, lines=3, name="after")
    open_timeline(page, account.owner, sandbox_id)
    expect(card(page, "after")).to_be_in_viewport()
    page.evaluate(_NOTE_WHAT_GOES)
    page.locator(".tl-scroll").hover()
    count = "e => e.querySelectorAll('[data-seq]').length"

    def is_past(seq: int, step: int) -> bool:
        page.mouse.wheel(0, step)
        assert page.locator(".tl-rows").evaluate(count) < 1500
        return page.locator(f"#e{seq}").count() == 1

    until(lambda: is_past(1, -60), seconds=90, what="scrolling up loads the first event")
    shot(page, "timeline-flood-passed")
    flood = card(page, "flood")
    until(lambda: is_past(1512, 60), seconds=90, what="scrolling down loads the last event")
    assert page.evaluate("window.gone") == []
    flood.get_by_role("button", name=re.compile("Show all")).click()
    expect(flood.get_by_role("button", name="Show less")).to_be_visible()
    expect(flood.get_by_text("flood 1499")).to_be_in_viewport()
    shown = "e => [...e.querySelectorAll('.out')].map(r => +r.dataset.seq)"
    seqs = flood.evaluate(shown)
    assert len(seqs) > 100
    assert seqs == list(range(seqs[0], 1507))


def test_cards_out_of_sight_are_not_laid_out_and_keep_their_height(
    page: Page, account: Cast
) -> None:
    sandbox_id = account.ended_sandbox()
    for part in range(35):
        _fill(sandbox_id, lines=part % 22 + 1, name=f"part{part}")
    open_timeline(page, account.owner, sandbox_id)
    page.locator(".tl-scroll").hover()

    def at_the_start() -> bool:
        page.mouse.wheel(0, -2000)
        return page.locator("#e1").count() == 1

    until(at_the_start, seconds=90, what="scrolling up loads the first event")
    shown = "card => card.firstElementChild.checkVisibility({ contentVisibilityAuto: true })"
    skipped = f"cards => cards.filter((card) => !({shown})(card)).length"
    until(lambda: page.locator(".card").evaluate_all(skipped) > 10, what="cards are skipped")
    heights = page.locator(".tl-scroll").evaluate(
        """async (box) => {
          const heights = new Set();
          const last = box.scrollHeight - box.clientHeight - 40;
          for (box.scrollTop = 0; box.scrollTop < last; box.scrollTop += 300) {
            await new Promise(requestAnimationFrame);
            await new Promise(requestAnimationFrame);
            heights.add(box.scrollHeight);
          }
          return [...heights];
        }"""
    )
    assert len(heights) == 1


def test_long_output_is_folded_and_a_key_opens_it(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = _box(sandbox_client)
    open_timeline(page, account.owner, sandbox.id)
    sandbox.exec("seq 1 300")
    seen = card(page, "seq 1 300")
    expect(seen.get_by_role("button", name="Show all 300 lines")).to_be_visible()
    folded = seen.evaluate("e => e.offsetHeight")
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keyboard")).to_be_hidden()
    page.keyboard.press("k")
    expect(seen).to_have_attribute("data-chosen", "")
    page.keyboard.press("e")
    expect(seen.get_by_role("button", name="Show less")).to_be_visible()
    until(lambda: seen.evaluate("e => e.offsetHeight") > 3 * folded, what="it is unfolded")


def test_filters_narrow_it_and_stand_in_the_address(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = _box(sandbox_client)
    sandbox.exec("echo needle")
    sandbox.exec("false")
    sandbox.files.write("/workspace/a.txt", "a")
    open_timeline(page, account.owner, sandbox.id)
    page.get_by_role("button", name="Failed").click()
    expect(card(page, "false")).to_be_visible()
    expect(card(page, "echo needle")).to_be_hidden()
    expect(page).to_have_url(re.compile(r"\?show=failed$"))

    page.get_by_role("button", name="All", exact=True).click()
    page.keyboard.press("/")
    page.keyboard.type("needle")
    expect(card(page, "false")).to_be_hidden()
    expect(card(page, "echo needle")).to_be_visible()
    expect(page).to_have_url(re.compile(r"\?q=needle$"))

    page.goto(f"/sandboxes/{sandbox.id}/?show=files")
    expect(page.locator('[data-kind="file.written"]')).to_be_visible()
    expect(card(page, "false")).to_be_hidden()


def test_search_goes_through_the_whole_run_and_leads_to_the_place(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = _box(sandbox_client)
    sandbox.exec("printf 'a\\nb\\nc\\nlong \\033[32mneed\\033[0mle lost\\nd\\ne\\nf\\n'")
    for part in range(3):
        _fill(sandbox.id, lines=398, name=f"part{part}")
    open_timeline(page, account.viewer, sandbox.id)
    page.keyboard.press("/")
    page.keyboard.type("needle lost")
    page.keyboard.press("Enter")
    found = page.locator("article.card")
    expect(card(page, "part2")).to_have_count(0)
    expect(found).to_have_count(1)
    expect(found).to_have_attribute("data-chosen", "")
    expect(found.locator(".out")).to_have_text("⋯\nb\nc\nlong needle lost\nd\ne\n⋯\n")
    expect(page).to_have_url(re.compile(r"\?q=needle\+lost$"))
    marked = "CSS.highlights.get('found')?.size ?? 0"
    until(lambda: page.evaluate(marked) >= 2, what="what was found is marked")

    _fill(sandbox.id, lines=2, name="later")
    sandbox.exec("echo another needle lost")
    expect(card(page, "echo another needle lost")).to_be_visible()
    expect(card(page, "later")).to_have_count(0)

    found.first.get_by_role("link", name="Show in place").click()
    expect(page).to_have_url(re.compile(rf"/sandboxes/{sandbox.id}/#e\d+$"))
    expect(page.locator(".card[data-linked]")).to_be_in_viewport()
    expect(page.locator(".card[data-linked] .out")).to_contain_text("f")
    expect(card(page, "part0")).to_be_attached()


def test_a_place_whose_rows_fill_no_screen_is_filled_with_what_follows(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = _box(sandbox_client)
    _fill(sandbox.id, lines=900, name="long")
    for number in range(3):
        _fill(sandbox.id, lines=300, name=f"next{number}")
    _fill(sandbox.id, lines=900, name="last")
    open_timeline(page, account.viewer, sandbox.id)
    page.goto(f"/sandboxes/{sandbox.id}/#e3")
    expect(card(page, "long")).to_have_attribute("data-linked", "")
    expect(card(page, "next0")).to_be_visible()
    expect(page.locator("#timeline")).to_have_attribute("data-live", "held")


def test_it_narrows_to_who_did_it_also_to_people_who_come_later(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = _box(sandbox_client)
    _reads(sandbox.id, count=3)
    open_timeline(page, account.owner, sandbox.id)
    anna = Actor("person", id="usr_anna", name="Anna")
    note = NewEvent(Kind.NOTE_ADDED, {"text": "look here"}, anna)
    events_append(sandbox_id=sandbox.id, events=[note])
    page.get_by_label("Done by").select_option("Anna")
    expect(page.locator('[data-kind="file.read"]')).to_have_count(0)
    expect(page.locator('[data-kind="note.added"]')).to_have_text(re.compile("look here"))
    page.goto(f"/sandboxes/{sandbox.id}/?actor=tok_1&show=files")
    expect(page.locator('[data-kind="file.read"]')).to_have_count(3)
    expect(page.get_by_label("Done by")).to_have_value("tok_1")
    page.goto(f"/sandboxes/{sandbox.id}/?actor=nobody")
    expect(page.get_by_text("Nothing here matches.")).to_be_visible()


def test_a_link_to_one_event_shows_and_marks_it(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = _box(sandbox_client)
    _reads(sandbox.id, count=700)
    sign_in(page, account.owner, to=f"/sandboxes/{sandbox.id}/")
    page.goto(f"/sandboxes/{sandbox.id}/#e123")
    row = page.locator("#e123")
    expect(row).to_be_in_viewport()
    expect(row).to_have_attribute("data-linked", "")
    expect(page.locator("#timeline")).to_have_attribute("data-live", "held")


def test_it_terminates_only_after_a_confirmation_that_names_the_sandbox(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = _box(sandbox_client)
    open_timeline(page, account.operator, sandbox.id)
    page.get_by_role("button", name="Terminate", exact=True).click()
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text(sandbox.id)
    dialog.get_by_role("button", name="Keep it").click()
    assert Sandbox.get(sandbox.id, client=sandbox_client).status == "running"

    page.get_by_role("button", name="Terminate", exact=True).click()
    dialog.get_by_role("button", name="Terminate sandbox").click()
    expect(page.locator("#sandbox-head")).to_have_attribute("data-status", "terminated")
    expect(page.locator('[data-kind="sandbox.terminated"]')).to_be_visible()
    assert Sandbox.get(sandbox.id, client=sandbox_client).status == "terminated"


def test_the_header_follows_what_others_do(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = _box(sandbox_client)
    open_timeline(page, account.viewer, sandbox.id)
    expect(page.locator("#sandbox-head")).to_have_attribute("data-status", "running")
    sandbox.terminate()
    expect(page.locator("#sandbox-head")).to_have_attribute("data-status", "terminated")


def test_extending_restarts_the_clock(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = _box(sandbox_client)
    open_timeline(page, account.operator, sandbox.id)
    page.get_by_role("button", name="Extend").click()
    page.get_by_role("dialog").get_by_label("1 hour").check()
    page.get_by_role("dialog").get_by_role("button", name="Extend").click()
    expect(page.locator('[data-kind="sandbox.timeout_changed"]')).to_contain_text("1 h")
    expect(page.locator("#sandbox-head time[data-countdown]")).to_have_text(
        re.compile(r"^(1:00:00|59:\d\d)$")
    )


def test_a_viewer_sees_no_buttons_that_act(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = _box(sandbox_client)
    open_timeline(page, account.viewer, sandbox.id)
    for name in ("Terminate", "Extend", "Take a snapshot"):
        expect(page.get_by_role("button", name=name)).to_have_count(0)
    state = page.locator("#timeline [data-part=state]")
    expect(state).to_have_text("Live")
    sandbox.terminate()
    expect(state).to_have_text("Complete")


def test_someone_elses_sandbox_is_not_there(
    page: Page, account: Cast, other_account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = _box(sandbox_client)
    sign_in(page, other_account.owner)
    for path in ("", "rows/", "head/"):
        answer = page.goto(f"/sandboxes/{sandbox.id}/{path}")
        assert answer is not None
        assert answer.status == 404
    code = page.evaluate(
        """id => new Promise(done => {
          const socket = new WebSocket(`ws://${location.host}/ws/sandboxes/${id}/timeline/`);
          socket.onclose = event => done(event.code);
        })""",
        sandbox.id,
    )
    assert code == 4404


def test_what_was_left_out_for_a_slow_reader_is_a_row_that_loads_it(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = _box(sandbox_client)

    def leave_out(route: WebSocketRoute) -> None:
        """Between the page and the server: the filler's rows never arrive."""
        server = route.connect_to_server()

        def pass_on(message: str | bytes) -> None:
            frame = json.loads(message)
            if "filler" in frame.get("html", ""):
                frame = {"t": "skip", "from": frame["from"], "to": frame["to"]}
            route.send(json.dumps(frame))

        server.on_message(pass_on)

    page.route_web_socket(re.compile(r"/timeline/"), leave_out)
    timeline = open_timeline(page, account.owner, sandbox.id)
    _fill(sandbox.id, lines=30)
    newest = last_seq(sandbox_id=sandbox.id)
    expect(timeline).to_have_attribute("data-verified", str(newest))
    left_out = page.get_by_role("button", name="events left out").first
    expect(left_out).to_be_visible()
    while page.locator(".skip").count():
        left_out.click()
        expect(page.locator(".skip[data-busy]")).to_have_count(0)
    expect(card(page, "filler").locator(".exit .pill")).to_contain_text("exit 0")
    shown = "e => [...e.querySelectorAll('[data-seq]')].map(r => +r.dataset.seq)"
    assert sorted(page.locator(".tl-rows").evaluate(shown)) == list(range(1, newest + 1))


def test_a_gap_in_the_stream_is_repaired_from_history(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = _box(sandbox_client)

    def lose(route: WebSocketRoute) -> None:
        """Between the page and the server: whole frames are lost."""
        server = route.connect_to_server()

        def pass_on(message: str | bytes) -> None:
            if "filler" not in str(message):
                route.send(message)

        server.on_message(pass_on)

    page.route_web_socket(re.compile(r"/timeline/"), lose)
    timeline = open_timeline(page, account.owner, sandbox.id)
    _fill(sandbox.id, lines=30)
    sandbox.exec("echo after")
    expect(card(page, "echo after").locator(".exit .pill")).to_contain_text("exit 0")
    newest = last_seq(sandbox_id=sandbox.id)
    expect(timeline).to_have_attribute("data-verified", str(newest))
    shown = "e => [...e.querySelectorAll('[data-seq]')].map(r => +r.dataset.seq)"
    assert sorted(page.locator(".tl-rows").evaluate(shown)) == list(range(1, newest + 1))


def test_signing_out_ends_what_the_session_watches_elsewhere(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = _box(sandbox_client)
    open_timeline(page, account.owner, sandbox.id)
    elsewhere = page.context.new_page()
    elsewhere.goto("/")

    elsewhere.get_by_role("button", name="Sign out").click()

    expect(page).to_have_url(re.compile(rf"/login/\?next=.*{sandbox.id}"))
