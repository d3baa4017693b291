"""The clock of an agent, by which timeouts go: the host can make it stand still."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from sandboxes.host.agent import questions
from sandboxes.host.agent.frames import Answer, Ask
from sandboxes.host.agent.link import Link
from tests.sandboxes.host.plain import BUILDS, PlainBox, follow, plain_box, spawn, tell


@pytest.fixture(params=BUILDS)
def box(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PlainBox]:
    with plain_box(tmp_path, build_as=request.param) as box:
        yield box


async def test_time_that_is_held_counts_neither_as_timeout_nor_as_duration(box: PlainBox) -> None:
    link, pid = await spawn(box, box.request("sleep 60", seconds=0.8))
    await questions.hold_clock(box.agent_socket, hold=True)
    meanwhile = await tell(box, box.request("sleep 1.5", name="cmd_2", seconds=0.5))
    assert (meanwhile.ended.exit_code, meanwhile.ended.timed_out) == (0, False)
    assert meanwhile.ended.duration_ms == 0
    assert psutil.pid_exists(pid)
    await questions.hold_clock(box.agent_socket, hold=False)
    told = await follow(link, pid=pid)
    link.close()
    assert told.ended.timed_out
    assert 800 <= told.ended.duration_ms < 1500


async def test_holding_twice_is_holding_once(box: PlainBox) -> None:
    for hold in (True, True, False, False):
        await questions.hold_clock(box.agent_socket, hold=hold)
    told = await tell(box, box.request("sleep 60", seconds=0.2))
    assert told.ended.timed_out


async def test_a_clock_frame_that_makes_no_sense_is_refused(box: PlainBox) -> None:
    for payload in (b"", b"\1\1"):
        link = await Link.open(box.agent_socket)
        await link.send(Ask.CLOCK, payload)
        assert (await link.receive())[0] is Answer.ERROR
        link.close()
    assert (await tell(box, box.request("true"))).ended.exit_code == 0
