"""Moving through a run on its strip, and playing it again, in a real browser."""

from __future__ import annotations

import re

from orkestr import Sandbox
from orkestr._client import OrkestrClient
from playwright.sync_api import Page, expect

from sandboxes.models import Sandbox as SandboxRow
from tests.cast import Cast
from tests.console.pages import card, open_timeline, watched
from tests.waiting import until
from timeline.events import Actor, Kind, NewEvent, now_us
from timeline.models import EventRow
from timeline.selectors import at_time, last_seq
from timeline.services import events_append

AGENT = Actor("token", id="tok_1", name="agent", prefix="ork_abcdefgh")
SECOND = 1_000_000


def _command(name: str, at: int, *, exit_code: int = 0, lines: int = 3) -> list[NewEvent]:
    """One that takes a second."""
    span = f"cmd_{name}"
    started = {"command_id": span, "command": name, "cwd": "/", "env_names": [], "pid": 7}
    events = [NewEvent(Kind.COMMAND_STARTED, started, AGENT, span, at)]
    for number in range(lines):
        data = {"stream": "stdout", "text": f"{name} {number}\n", "bytes": 12}
        events.append(NewEvent(Kind.COMMAND_OUTPUT, data, AGENT, span, at + number + 1))
    done = {"exit_code": exit_code, "signal": None, "duration_ms": 1000, "timed_out": False}
    return [*events, NewEvent(Kind.COMMAND_EXITED, done, AGENT, span, at + SECOND)]


def _run(sandbox_id: str) -> None:
    """Twenty seconds of work, nine idle minutes, and a last command now."""
    began = now_us() - 570 * SECOND
    until(lambda: last_seq(sandbox_id=sandbox_id) >= 2, what="its creation is stored")
    created = at_time(began - SECOND)
    EventRow.objects.filter(sandbox_id=sandbox_id).update(at=created)
    SandboxRow.objects.filter(id=sandbox_id).update(created_at=created)
    events = []
    for number in range(20):
        failed = int(number == 7)
        events += _command(f"step{number}", began + number * SECOND, exit_code=failed, lines=40)
    events_append(sandbox_id=sandbox_id, events=[*events, *_command("last", now_us() - SECOND)])


def test_the_strip_goes_to_any_moment_while_recording_goes_on(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12", timeout_seconds=600, client=sandbox_client)
    _run(sandbox.id)
    complaints = watched(page)
    timeline = open_timeline(page, account.viewer, sandbox.id)
    slider = page.get_by_role("slider", name="Moment of the run")
    expect(page.get_by_role("button", name="Cut idle")).to_be_visible()

    slider.focus()
    page.keyboard.press("Home")
    expect(timeline).to_have_attribute("data-live", "held")
    expect(page.locator("#e1")).to_be_in_viewport()
    events_append(sandbox_id=sandbox.id, events=_command("meanwhile", now_us(), lines=0))
    expect(page.get_by_role("button", name="2 new")).to_be_visible()
    expect(card(page, "meanwhile")).to_have_count(0)

    box = page.locator(".strip-track").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 4, box["y"] + 20)
    page.mouse.down()
    for x in range(10, int(box["width"]), 10):  # the time since the last command takes its share
        page.mouse.move(box["x"] + x, box["y"] + 20)
        if "step7" in (slider.get_attribute("aria-valuetext") or ""):
            break
    page.mouse.up()
    expect(card(page, "step7")).to_be_attached()
    text = slider.get_attribute("aria-valuetext") or ""
    assert "step" in text
    page.keyboard.press("End")
    expect(timeline).to_have_attribute("data-live", "live")
    expect(card(page, "meanwhile")).to_be_visible()
    assert complaints == []


def test_a_run_is_played_again_with_its_idle_time_cut(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12", timeout_seconds=600, client=sandbox_client)
    _run(sandbox.id)
    sandbox.terminate()
    timeline = open_timeline(page, account.owner, sandbox.id)
    slider = page.get_by_role("slider", name="Moment of the run")
    expect(page.get_by_role("button", name="Cut idle")).to_be_visible()
    speed = page.get_by_label("Speed of the replay")
    speed.select_option(
        "4×"
    )  # slow enough to be paused before its end on a machine with other work
    slider.focus()
    page.keyboard.press("Home")
    expect(page.locator("#e1")).to_be_in_viewport(timeout=15_000)
    page.get_by_role("button", name="Replay", exact=True).click()
    expect(timeline).to_have_attribute("data-replay", "playing")
    expect(card(page, "last")).to_have_count(0)
    expect(timeline).to_have_attribute("data-live", "held")
    expect(page.locator("[data-part=state]")).to_have_text("Replay")
    page.keyboard.press("Escape")
    expect(card(page, "step3")).to_be_visible(timeout=20_000)

    page.get_by_role("button", name="Pause the replay").click()
    expect(timeline).to_have_attribute("data-replay", "paused")
    expect(page.locator("[data-part=state]")).to_have_text("Held")
    assert card(page, "last").count() == 0
    speed.select_option("16×")
    page.get_by_role("button", name="Replay", exact=True).click()
    expect(card(page, "last").locator(".exit .pill")).to_contain_text("exit 0", timeout=40_000)
    expect(timeline).to_have_attribute("data-replay", "paused", timeout=20_000)
    assert page.locator(".tl-rows").evaluate("e => e.querySelectorAll('[data-seq]').length") < 1500
    page.get_by_role("button", name="Back to live").click()
    expect(timeline).to_have_attribute("data-live", "live")


def test_files_and_terminals_open_at_the_moment_of_the_strip(
    page: Page, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12", timeout_seconds=600, client=sandbox_client)
    sandbox.files.write("/workspace/early.txt", "early")
    sandbox.exec("sleep 2")
    sandbox.files.write("/workspace/late.txt", "late")
    open_timeline(page, account.viewer, sandbox.id)
    expect(page.locator('[data-kind="file.written"]')).to_have_count(2)
    strip = page.get_by_role("slider", name="Moment of the run")
    expect(page.locator(".strip")).not_to_have_attribute("data-empty", "")
    files = page.locator(".box-tabs").get_by_role("link", name="Files")
    assert "at=" not in (files.get_attribute("href") or "")

    early = page.locator('[data-kind="file.written"]').first
    at = int(early.get_attribute("data-at") or 0) // 1000 + 500
    page.goto(f"/sandboxes/{sandbox.id}/files/?at={at}")
    expect(page.get_by_role("heading", name="As of a moment of the run")).to_be_visible()
    expect(page.locator(".written")).to_contain_text("early.txt")
    expect(page.locator(".written")).not_to_contain_text("late.txt")

    beside = page.context.new_page()
    beside.goto(page.url)
    expect(beside.locator(".written")).to_contain_text("early.txt")

    page.go_back()
    expect(page.locator("#timeline")).to_have_attribute("data-live", "live")
    expect(page.locator(".strip")).not_to_have_attribute("data-empty", "")
    strip.press("Home")
    expect(files).to_have_attribute("href", re.compile(r"/files/\?at=\d+$"))
    page.keyboard.press("End")
    expect(files).to_have_attribute("href", re.compile(r"/files/$"))
    expect(beside.locator(".written")).to_contain_text("late.txt")
    page.keyboard.press("Home")
    expect(beside.get_by_text("Nothing had been written yet")).to_be_visible()
