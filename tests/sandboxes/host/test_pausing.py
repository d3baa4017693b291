"""Pausing at the host: everything stands still, is kept through restarts, and goes on."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import pytest

from sandboxes.host.cgroups import Cgroups
from sandboxes.host.types import Chunk, Exited, HostError
from tests.sandboxes.host.hosting import (
    ACTOR,
    HostProcess,
    Make,
    Sandboxed,
    both,
    command,
    create,
)
from tests.sandboxes.host.plain import soon
from tests.waiting import until

SNAPSHOT = "snap_01ARZ3NDEKTSV4RRFFQ69G5FAV"
CLOCK = {"timeout_seconds": 600, "expires_at": "2030-01-01T00:00:00+00:00"}


async def pause(sandbox: Sandboxed, *, reason: str = "requested") -> int:
    """How many MB it keeps."""
    client = sandbox.host.client
    kept = await client.pause(sandbox.id, snapshot_id=SNAPSHOT, reason=reason, actor=ACTOR)
    return kept.size_mb


async def resume(sandbox: Sandboxed, *, reason: str = "requested") -> None:
    await sandbox.host.client.resume(sandbox.id, reason=reason, actor=ACTOR, **CLOCK)  # type: ignore[arg-type]


def cpu_ticks(pid: int) -> int:
    """What a process has used so far, its ended children's share included."""
    words = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, words[11:15]))


def processes(sandbox: Sandboxed) -> list[int]:
    """All of a sandbox's, as this machine counts."""
    places = sandbox.host.places
    pid = sandbox.host.init_pid(sandbox.id)
    return [
        each
        for name in Cgroups().group(places.cgroup).children()
        for each in Cgroups().group(f"{places.cgroup}/{name}").processes()
        if pid in Cgroups().group(f"{places.cgroup}/{name}").processes()
    ]


def alive(pids: Iterable[int]) -> bool:
    return any(Path(f"/proc/{pid}").exists() for pid in pids)


def kinds(sandbox: Sandboxed) -> list[str]:
    wanted = {"sandbox.paused", "sandbox.resumed", "sandbox.terminated", "sandbox.failed"}
    return [one.kind for one in sandbox.host.events(sandbox.id) if one.kind in wanted]


@both
async def test_everything_stands_still_and_then_goes_on_as_it_was(sandbox: Sandboxed) -> None:
    await sandbox.output("echo file > kept; (while :; do :; done) >/dev/null 2>&1 & echo $! > pid")
    assert await pause(sandbox) >= 1
    before = [cpu_ticks(pid) for pid in processes(sandbox)]
    began = time.monotonic()
    await asyncio.to_thread(until, lambda: time.monotonic() - began > 0.3, what="time has passed")
    assert len(before) >= 2
    assert [cpu_ticks(pid) for pid in processes(sandbox)] == before
    await resume(sandbox)
    assert await sandbox.output("cat kept; kill -0 $(cat pid) && echo alive") == "file\nalive\n"
    assert [cpu_ticks(pid) for pid in processes(sandbox)] != before


async def test_a_pause_and_its_end_are_told_with_who_and_why(sandbox: Sandboxed) -> None:
    size = await pause(sandbox, reason="timeout")
    await resume(sandbox, reason="auto_resume")
    paused = await asyncio.to_thread(sandbox.host.until_event, sandbox.id, "sandbox.paused")
    resumed = await asyncio.to_thread(sandbox.host.until_event, sandbox.id, "sandbox.resumed")
    assert paused.data == {
        "reason": "timeout",
        "snapshot_id": SNAPSHOT,
        "snapshot_size_mb": size,
        "survives_machine_restart": True,
    }
    assert resumed.data["reason"] == "auto_resume"
    assert resumed.data["paused_ms"] >= 0
    assert {key: resumed.data[key] for key in CLOCK} == CLOCK
    assert paused.actor == resumed.actor == ACTOR


async def test_nothing_can_be_done_in_a_paused_one(sandbox: Sandboxed) -> None:
    await pause(sandbox)
    client = sandbox.host.client
    for call in (
        client.exec(sandbox.id, command("true"), actor=ACTOR),
        client.read_path(sandbox.id, "/workspace", actor=ACTOR),
        client.stat(sandbox.id, "/workspace", actor=ACTOR),
        client.write_file(sandbox.id, "/workspace/f", b"", actor=ACTOR),
    ):
        with pytest.raises(HostError, match="resume it first") as caught:
            await call
        assert caught.value.code == "paused"
    await resume(sandbox)
    assert await sandbox.output("ls") == ""


async def test_each_turn_can_be_taken_once(sandbox: Sandboxed) -> None:
    with pytest.raises(HostError) as caught:
        await resume(sandbox)
    assert caught.value.code == "not_paused"
    outcomes = await asyncio.gather(*(pause(sandbox) for _ in range(4)), return_exceptions=True)
    errors = [one for one in outcomes if isinstance(one, HostError)]
    assert [error.code for error in errors] == ["paused"] * 3
    waking = await asyncio.gather(*(resume(sandbox) for _ in range(4)), return_exceptions=True)
    errors = [one for one in waking if isinstance(one, HostError)]
    assert [error.code for error in errors] == ["not_paused"] * 3
    assert await sandbox.output("echo runs") == "runs\n"


@both
async def test_a_pause_stops_the_clock_of_a_running_command(sandbox: Sandboxed) -> None:
    chunks = []
    texts = "echo begun; until [ -e go ]; do sleep 0.01; done; echo done"
    request = command(texts, timeout_seconds=1.0)
    began = time.monotonic()
    async for event in sandbox.host.client.exec_stream(sandbox.id, request, actor=ACTOR):
        if isinstance(event, Chunk):
            chunks.append(event.data)
        if chunks == [b"begun\n"] and not isinstance(event, Exited):
            await pause(sandbox)
            await asyncio.to_thread(
                until, lambda: time.monotonic() - began > 1.5, what="its timeout would be over"
            )
            await resume(sandbox)
            await sandbox.output("touch go")
    assert isinstance(event, Exited)
    assert chunks == [b"begun\n", b"done\n"]
    assert (event.exit_code, event.timed_out) == (0, False)
    assert event.duration_ms < 1000


async def test_who_waits_for_a_command_is_told_of_the_pause(sandbox: Sandboxed) -> None:
    waiting = asyncio.ensure_future(sandbox.exec("touch begun; sleep 0.2; touch over"))
    client = sandbox.host.client

    async def begun() -> bool:
        return (await client.stat(sandbox.id, "/workspace/begun", actor=ACTOR)).exists

    await soon(begun)
    await pause(sandbox)
    with pytest.raises(HostError, match="paused meanwhile") as caught:
        await waiting
    assert caught.value.code == "paused"
    await resume(sandbox)
    await sandbox.output("until [ -e over ]; do sleep 0.01; done")
    await asyncio.to_thread(sandbox.host.until_event, sandbox.id, "command.exited")


async def test_a_fork_bomb_comes_to_rest_too(sandbox: Sandboxed) -> None:
    bomb = "bomb() { bomb | bomb & }; bomb >/dev/null 2>&1; sleep 30"
    waiting = asyncio.ensure_future(sandbox.exec(bomb))
    await asyncio.to_thread(sandbox.host.until_event, sandbox.id, "command.started")
    await pause(sandbox)
    before = {pid: cpu_ticks(pid) for pid in processes(sandbox)}
    assert {pid: cpu_ticks(pid) for pid in processes(sandbox)} == before
    await asyncio.gather(waiting, return_exceptions=True)
    await sandbox.terminate()
    there = partial(alive, before)
    await asyncio.to_thread(until, lambda: not there(), what="all of it is gone")


@both
async def test_a_paused_one_is_terminated_for_good(make_sandbox: Make) -> None:
    sandbox = await make_sandbox()
    pid = sandbox.host.init_pid(sandbox.id)
    await pause(sandbox)
    await sandbox.terminate()
    # The host may be about to take note of its end still.
    await asyncio.to_thread(until, lambda: not Path(f"/proc/{pid}").exists(), what="it is gone")
    ended = await asyncio.to_thread(sandbox.host.until_event, sandbox.id, "sandbox.terminated")
    assert ended.data == {"reason": "requested"}
    with pytest.raises(HostError) as caught:
        await resume(sandbox)
    assert caught.value.code in {"not_running", "not_found"}


async def test_ending_it_in_the_middle_of_a_pause_ends_it(make_sandbox: Make) -> None:
    for _ in range(5):
        sandbox = await make_sandbox()
        pid = sandbox.host.init_pid(sandbox.id)
        outcomes = await asyncio.gather(pause(sandbox), sandbox.terminate(), return_exceptions=True)
        assert outcomes[1] is None
        assert isinstance(outcomes[0], int | HostError)
        await asyncio.to_thread(until, partial(gone, pid), what="it is gone")


def gone(pid: int) -> bool:
    return not Path(f"/proc/{pid}").exists()


@both
async def test_a_pause_outlives_a_killed_host_with_its_commands(
    own: HostProcess, isolation: str
) -> None:
    sandbox = await create(own, isolation=isolation)
    script = "for n in $(seq 40); do echo line $n; sleep 0.02; done; until [ -e go ]; do :; done"
    running = asyncio.ensure_future(sandbox.exec(script))
    await asyncio.to_thread(own.until_event, sandbox.id, "command.output")
    await pause(sandbox)
    own.kill()
    await asyncio.gather(running, return_exceptions=True)
    own.start()
    assert await own.client.statuses() == {sandbox.id: "paused"}
    with pytest.raises(HostError, match="resume it first"):
        await sandbox.exec("true")
    await resume(sandbox)
    assert await own.client.statuses() == {sandbox.id: "running"}
    await sandbox.output("touch go")

    def ends() -> list[dict[str, object]]:
        return [e.data for e in own.events(sandbox.id) if e.data.get("stdout_bytes")]

    await asyncio.to_thread(until, lambda: bool(ends()), what="the command's end is told")
    assert [(end["exit_code"], end.get("error")) for end in ends()] == [(0, None)]
    lines = [e.data["text"] for e in own.events(sandbox.id) if e.kind == "command.output"]
    assert "".join(lines).split("\n")[:-1] == [f"line {n}" for n in range(1, 41)]
    assert kinds(sandbox) == ["sandbox.paused", "sandbox.resumed"]


async def test_a_paused_one_ends_also_after_a_restart(own: HostProcess) -> None:
    sandbox = await create(own)
    running = asyncio.ensure_future(sandbox.exec("sleep 60"))
    await asyncio.to_thread(own.until_event, sandbox.id, "command.started")
    await pause(sandbox)
    own.kill()
    await asyncio.gather(running, return_exceptions=True)
    own.start()
    await sandbox.terminate()
    await asyncio.to_thread(own.until_event, sandbox.id, "sandbox.terminated")
    told = [event.kind for event in own.events(sandbox.id)]
    assert told[-2:] == ["command.exited", "sandbox.terminated"]


async def test_what_a_host_had_frozen_but_not_told_runs_again(own: HostProcess) -> None:
    sandbox = await create(own)
    freezer = Cgroups().group(f"{own.places.cgroup}/{slot(sandbox)}").freezer
    own.kill()
    await asyncio.to_thread(freezer.freeze)
    own.start()
    assert await own.client.statuses() == {sandbox.id: "running"}
    assert await sandbox.output("echo runs") == "runs\n"
    assert kinds(sandbox) == []


async def test_what_was_told_but_not_noted_is_as_it_was_told(own: HostProcess) -> None:
    sandbox = await create(own)
    state = own.directory / "sandboxes" / sandbox.id / "state.json"
    as_running = state.read_bytes()
    await pause(sandbox)
    as_paused = state.read_bytes()
    own.kill()
    state.write_bytes(as_running)
    own.start()
    assert await own.client.statuses() == {sandbox.id: "paused"}
    await resume(sandbox)
    own.kill()
    state.write_bytes(as_paused)
    own.start()
    assert await own.client.statuses() == {sandbox.id: "running"}
    assert await sandbox.output("echo runs") == "runs\n"
    await asyncio.to_thread(own.until_event, sandbox.id, "sandbox.resumed")
    assert kinds(sandbox) == ["sandbox.paused", "sandbox.resumed"]


def slot(sandbox: Sandboxed) -> str:
    """The name of the container that runs it."""
    places = sandbox.host.places
    pid = sandbox.host.init_pid(sandbox.id)
    names = Cgroups().group(places.cgroup).children()
    held = {n: Cgroups().group(f"{places.cgroup}/{n}").processes() for n in names}
    return next(name for name, pids in held.items() if pid in pids)


async def test_an_ended_host_leaves_no_trace_of_paused_ones(own: HostProcess) -> None:
    sandbox = await create(own)
    pid = own.init_pid(sandbox.id)
    await pause(sandbox)
    assert own.run("stop-all").returncode == 0
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert own.traces() == []
    own.process = None
