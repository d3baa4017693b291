"""A host that is killed or stopped: what runs goes on, what ended is said, nothing is left over."""

from __future__ import annotations

import asyncio
import os
import signal
from pathlib import Path

import pytest

from sandboxes.host.types import HostError
from tests.sandboxes.host.hosting import (
    ACTOR,
    HostProcess,
    both,
    command,
    create,
)
from tests.waiting import until
from timeline.events import SYSTEM


@both
async def test_sandboxes_and_their_commands_outlive_a_killed_host(
    own: HostProcess, isolation: str
) -> None:
    sandbox = await create(own, isolation=isolation)
    await sandbox.output("echo kept > /workspace/file")
    script = "for n in $(seq 1 40); do echo line $n; sleep 0.05; done"
    running = asyncio.ensure_future(sandbox.exec(script))
    await asyncio.to_thread(own.until_event, sandbox.id, "command.output")
    own.kill()
    await asyncio.gather(running, return_exceptions=True)
    own.start()
    assert await own.client.sandboxes() == [sandbox.id]
    assert await sandbox.output("cat /workspace/file") == "kept\n"

    def whole() -> bool:
        told = [e.data for e in own.events(sandbox.id) if e.kind == "command.exited"]
        return any(data["stdout_bytes"] > 200 for data in told)

    await asyncio.to_thread(until, whole, what="the command's end is told")
    text = "".join(
        event.data["text"] for event in own.events(sandbox.id) if event.kind == "command.output"
    )
    assert [line for line in text.splitlines() if line.startswith("line")] == [
        f"line {n}" for n in range(1, 41)
    ]


async def test_an_orderly_stop_leaves_sandboxes_running(own: HostProcess) -> None:
    sandbox = await create(own)
    pid = own.init_pid(sandbox.id)
    assert own.end(signal.SIGTERM) == 0
    os.kill(pid, 0)
    own.start()
    assert await sandbox.output("echo still here") == "still here\n"
    kinds = [event.kind for event in own.events(sandbox.id)]
    assert "sandbox.terminated" not in kinds
    assert "sandbox.failed" not in kinds


@pytest.mark.parametrize("end", ["interrupt", "stop-all", "stop-all of a dead host"])
async def test_it_ends_all_sandboxes_when_told_to(own: HostProcess, end: str) -> None:
    sandboxes = [await create(own) for _ in range(2)]
    if end == "interrupt":
        assert own.end(signal.SIGINT) == 0
    else:
        if end.endswith("dead host"):
            own.kill()
        done = own.run("stop-all")
        assert done.returncode == 0, done.stderr
        if own.process is not None:
            own.process.wait(30)
            own.process = None
    for sandbox in sandboxes:
        last = own.until_event(sandbox.id, "sandbox.terminated")
        assert last.data == {"reason": "shutdown"}
        assert own.events(sandbox.id)[-1] == last
    assert own.traces() == []
    assert not own.places.stage.exists() or not list(own.places.stage.iterdir())


@both
async def test_a_sandbox_that_dies_is_failed_at_once(own: HostProcess, isolation: str) -> None:
    sandbox = await create(own, isolation=isolation)
    os.kill(own.init_pid(sandbox.id), signal.SIGKILL)
    failed = own.until_event(sandbox.id, "sandbox.failed")
    assert failed.data["reason"] == "killed"
    assert "signal 9" in failed.data["detail"]
    with pytest.raises(HostError) as error:
        await sandbox.exec("true")
    assert error.value.code == "not_running"
    await sandbox.terminate()
    assert own.events(sandbox.id)[-1].kind == "sandbox.failed"


async def test_a_command_that_ran_in_it_ends_before_it_fails(own: HostProcess) -> None:
    sandbox = await create(own)
    running = asyncio.ensure_future(sandbox.exec("echo begun; sleep 600"))
    await asyncio.to_thread(own.until_event, sandbox.id, "command.output")
    os.kill(own.init_pid(sandbox.id), signal.SIGKILL)
    await asyncio.to_thread(own.until_event, sandbox.id, "sandbox.failed")
    await asyncio.gather(running, return_exceptions=True)
    kinds = [event.kind for event in own.events(sandbox.id)]
    assert kinds[-2:] == ["command.exited", "sandbox.failed"]


@both
async def test_one_that_died_while_no_host_ran_is_failed_when_one_does(
    own: HostProcess, isolation: str
) -> None:
    dead, alive = await create(own, isolation=isolation), await create(own)
    running = asyncio.ensure_future(dead.exec("echo begun; sleep 600"))
    await asyncio.to_thread(own.until_event, dead.id, "command.output")
    pid = own.init_pid(dead.id)
    own.kill()
    await asyncio.gather(running, return_exceptions=True)
    os.kill(pid, signal.SIGKILL)
    own.start()
    failed = own.until_event(dead.id, "sandbox.failed")
    assert failed.data["reason"] == "host_lost"
    kinds = [event.kind for event in own.events(dead.id)]
    assert kinds[-2:] == ["command.exited", "sandbox.failed"]
    assert await own.client.sandboxes() == [alive.id]
    own.kill()
    own.start()
    assert [event.kind for event in own.events(dead.id)] == kinds


async def test_what_half_made_sandboxes_left_is_cleared(own: HostProcess) -> None:
    sandbox = await create(own)
    creating = [asyncio.ensure_future(create(own)) for _ in range(6)]

    def being_made() -> bool:
        return len(list(own.places.slots.iterdir())) > 2

    await asyncio.to_thread(until, being_made, what="slots are being made")
    own.kill()
    await asyncio.gather(*creating, return_exceptions=True)
    (own.places.slots / "deadbeef").mkdir(exist_ok=True)
    own.start()
    known = set(await own.client.sandboxes())
    assert sandbox.id in known
    for sandbox_id in known:
        await own.client.terminate(sandbox_id, actor=SYSTEM, reason="requested")
    assert own.end(signal.SIGTERM) == 0

    def clear() -> bool:
        return own.run("stop-all").returncode == 0 and own.traces() == []

    until(clear, what="nothing is left")


async def test_an_end_that_was_begun_is_finished(own: HostProcess) -> None:
    sandboxes = [await create(own) for _ in range(4)]
    ends = [asyncio.ensure_future(sandbox.terminate()) for sandbox in sandboxes]
    await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
    own.kill()
    await asyncio.gather(*ends, return_exceptions=True)
    own.start()
    for sandbox in sandboxes:
        await sandbox.terminate()
        own.until_event(sandbox.id, "sandbox.terminated")
        kinds = [event.kind for event in own.events(sandbox.id)]
        assert kinds.count("sandbox.terminated") == 1
        assert kinds[-1] == "sandbox.terminated"


async def test_a_request_cut_by_the_hosts_death_says_unreachable(own: HostProcess) -> None:
    sandbox = await create(own)
    waiting = asyncio.ensure_future(
        own.client.exec(sandbox.id, command("echo begun; sleep 600"), actor=ACTOR)
    )
    await asyncio.to_thread(own.until_event, sandbox.id, "command.output")
    own.kill()
    with pytest.raises(HostError) as error:
        await waiting
    assert error.value.code == "host_unreachable"
    own.start()


async def test_it_works_while_redis_is_away_and_tells_all_of_it_later(
    templates: Path, redis_url: str
) -> None:
    own = HostProcess(templates, "unix:///nowhere/redis.sock")
    own.start()
    try:
        sandbox = await create(own)
        assert await sandbox.output("echo unshipped") == "unshipped\n"
        await sandbox.terminate()
        assert own.end(signal.SIGTERM) == 0
        own.redis_url = redis_url
        own.start()
        own.until_event(sandbox.id, "sandbox.terminated")
        kinds = [event.kind for event in own.events(sandbox.id)]
        assert kinds[:2] == ["sandbox.created", "sandbox.running"]
        assert len(kinds) == 6
    finally:
        own.close()


async def test_an_ended_sandbox_is_forgotten_once_all_of_it_is_stored(own: HostProcess) -> None:
    sandbox = await create(own)
    await sandbox.terminate()
    own.until_event(sandbox.id, "sandbox.terminated")
    folder = own.places.sandboxes / sandbox.id
    assert folder.is_dir()
    own.say_stored(sandbox.id)
    await own.client.meters_stored([sandbox.id])
    await asyncio.to_thread(until, lambda: not folder.exists(), what="its folder is removed")
    with pytest.raises(HostError) as error:
        await sandbox.exec("true")
    assert error.value.code == "not_found"
