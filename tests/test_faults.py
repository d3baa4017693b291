"""Pull a plug, any plug, in the middle of a busy run: nothing is lost, nothing comes twice."""

from __future__ import annotations

import threading
from functools import partial

import pytest
from orkestr import Sandbox
from orkestr._client import OrkestrClient
from orkestr.errors import OrkestrError
from playwright.sync_api import Page, expect

from tests.cast import Cast
from tests.console.pages import sign_in
from tests.stack import Stack
from tests.waiting import until
from timeline.events import Event, Kind
from timeline.selectors import events_after, verify

LINES = 6000
BUSY = f"""
i=0
while [ $i -lt {LINES} ]; do
  i=$((i+1)); echo "line $i of the run"
  [ $((i % 40)) = 0 ] && sleep 0.04
done
"""
PRINTED = "".join(f"line {number} of the run\n" for number in range(1, LINES + 1))
PARTS = ("worker", "asgi", "host", "valkey", "postgres")


def history(sandbox_id: str) -> list[Event]:
    """All events that are stored, read as the pages read them; PostgreSQL must be there."""
    found: list[Event] = []
    while page := events_after(sandbox_id=sandbox_id, after=found[-1].seq if found else 0):
        found += page
    return found


def printed(sandbox_id: str, command: str = "") -> str:
    """What the timeline says the commands (or one of them) wrote to standard output."""
    return "".join(
        event.data["text"]
        for event in history(sandbox_id)
        if event.kind == Kind.COMMAND_OUTPUT and command in (event.span or "")
    )


def has_ended(sandbox_id: str, commands: int) -> bool:
    kinds = [event.kind for event in history(sandbox_id)]
    return kinds.count(Kind.COMMAND_EXITED) == commands


def has_begun(sandbox_id: str) -> bool:
    return "line 400 of" in printed(sandbox_id)


def run_and_forget(sandbox: Sandbox) -> threading.Thread:
    """Start the busy command; its caller may lose the answer, the command does not care."""

    def call() -> None:
        try:
            sandbox.exec(BUSY, timeout_seconds=60)
        except OrkestrError:
            return

    thread = threading.Thread(target=call)
    thread.start()
    return thread


@pytest.mark.timeout(240)
@pytest.mark.parametrize("part", PARTS)
def test_it_loses_and_doubles_nothing_when_a_part_dies_in_a_busy_run(
    part: str, stack: Stack, account: Cast, sandbox_client: OrkestrClient, page: Page
) -> None:
    sandbox, neighbour = (Sandbox.create(template="debian-12") for _ in range(2))
    sign_in(page, account.owner)
    page.goto(f"/sandboxes/{sandbox.id}/")
    calls = [run_and_forget(sandbox), run_and_forget(neighbour)]
    until(partial(has_begun, sandbox.id), what="the run is busy")

    stack.kill(part)
    stack.start(part)

    for one in (sandbox, neighbour):
        until(partial(has_ended, one.id, 1), seconds=90, what="the end of the run is stored")
        assert printed(one.id) == PRINTED
        assert verify(sandbox_id=one.id).gapless
    for call in calls:
        call.join(90)
    assert sandbox.exec("echo still here").stdout == "still here\n"
    until(partial(has_ended, sandbox.id, 2), what="the second command is stored")
    last = history(sandbox.id)[-1].seq
    timeline = page.locator("[data-sandbox]")
    expect(timeline).to_have_attribute("data-verified", str(last), timeout=60_000)
    expect(timeline).to_have_attribute("data-live", "live")
    expect(page.get_by_text("still here", exact=True)).to_be_visible()


@pytest.mark.timeout(240)
def test_it_hands_a_dead_workers_share_to_another_within_seconds(
    stack: Stack, sandbox_client: OrkestrClient
) -> None:
    stack.add_worker("worker-2")
    sandboxes = [Sandbox.create(template="debian-12") for _ in range(4)]
    calls = [run_and_forget(sandbox) for sandbox in sandboxes]
    until(partial(has_begun, sandboxes[0].id), what="the runs are busy")

    stack.kill("worker")

    for sandbox in sandboxes:
        until(partial(has_ended, sandbox.id, 1), seconds=90, what="the end of a run is stored")
        assert printed(sandbox.id) == PRINTED
        assert verify(sandbox_id=sandbox.id).gapless
    for call in calls:
        call.join(90)


@pytest.mark.timeout(180)
def test_it_keeps_a_sandbox_running_through_restarts_of_its_host(
    stack: Stack, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12")
    sandbox.exec("nohup sh -c 'while :; do date +%s%N > /workspace/beat; sleep 0.05; done' &")
    boot = sandbox.exec("stat -c %Y /proc/1; cat /proc/sys/kernel/random/boot_id").stdout
    for _ in range(2):
        stack.restart("host")
        first = sandbox.files.read("/workspace/beat")
        until(lambda: sandbox.files.read("/workspace/beat") != first, what="its process runs on")  # noqa: B023
    assert sandbox.exec("stat -c %Y /proc/1; cat /proc/sys/kernel/random/boot_id").stdout == boot
    assert sandbox.refresh().status == "running"


@pytest.mark.timeout(120)
def test_it_lets_a_command_run_to_its_own_timeout_when_its_caller_goes_away(
    stack: Stack, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12")
    stream = sandbox.exec_stream("while :; do echo tick; sleep 0.1; done", timeout_seconds=4)
    assert next(stream).data.startswith("tick")
    stream.close()

    until(partial(has_ended, sandbox.id, 1), seconds=30, what="its timeout ends it")
    exited = history(sandbox.id)[-1]
    assert exited.data["timed_out"] is True
    assert printed(sandbox.id).count("tick\n") > 30
