"""Processes and memory on disk: through a restart of the machine, and in forks."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path

import pytest
from ulid import ULID

from sandboxes.host.background_client import BackgroundClient
from sandboxes.host.cgroups import Cgroups, Group
from sandboxes.host.snapshots import NOTHING_RAN
from sandboxes.host.types import FileContent, HostError, PausedSandbox
from tests.sandboxes.host.hosting import (
    ACTOR,
    HostProcess,
    Make,
    Sandboxed,
    command,
    new_spec,
)
from tests.sandboxes.host.test_pausing import CLOCK, processes
from tests.waiting import until

#: What a process has in its hands: counts in memory, a deleted file, a pipe, shared memory.
BUSY = """
exec 5<>gone; echo deleted >&5; rm gone; echo shared > /dev/shm/kept
writes() { while :; do echo through; sleep 0.1; done; }
(while read -r line; do echo "$line" > p; mv p piped; done) < <(writes) &
n=0; while :; do n=$((n+1)); echo $n; cat /dev/fd/5 > s; mv s seen; sleep 0.02; done
"""


async def begun(machine: HostProcess, text: str = BUSY, **changes: object) -> Sandboxed:
    """A sandbox in which ``text`` runs, which counts."""
    sandbox = await created(machine, **changes)
    request = command(text, timeout_seconds=0, background=True)
    client = BackgroundClient(str(machine.socket))
    await client.background_start(sandbox.id, request, actor=ACTOR)
    await asyncio.to_thread(
        until, lambda: len(counted(machine, sandbox.id)) > 3, what="it has begun to count"
    )
    return sandbox


async def created(machine: HostProcess, **changes: object) -> Sandboxed:
    spec = new_spec(**changes)
    await machine.client.create(spec, actor=ACTOR)
    return Sandboxed(machine, spec)


def counted(machine: HostProcess, sandbox_id: str) -> list[int]:
    """All that was counted, as the timeline has it."""
    told = [one for one in machine.events(sandbox_id) if one.kind == "command.output"]
    its = [one for one in told if one.span == told[0].span and one.data["stream"] == "stdout"]
    text = "".join(one.data["text"] for one in its)
    return [int(line) for line in text.split("\n")[:-1]]


async def pause(sandbox: Sandboxed) -> PausedSandbox:
    snapshot_id = f"snap_{ULID()}"
    client = sandbox.host.client
    return await client.pause(sandbox.id, snapshot_id=snapshot_id, reason="requested", actor=ACTOR)


async def resume(sandbox: Sandboxed) -> None:
    client = sandbox.host.client
    await client.resume(sandbox.id, reason="requested", actor=ACTOR, **CLOCK)  # type: ignore[arg-type]


def restart(machine: HostProcess, *, start: bool = True) -> None:
    """As the machine's restart: every process, cgroup and mount of the host is gone."""
    if machine.process is not None:
        children = Path(f"/proc/{machine.process.pid}/task/{machine.process.pid}/children")
        pids = [int(pid) for pid in children.read_text().split()]
        machine.kill()
        for pid in pids:  # the egress proxy
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
    cgroups, root = Cgroups(), machine.places.cgroup
    for name in cgroups.group(root).children():
        group = cgroups.group(f"{root}/{name}")
        until(partial(killed, group), what="nothing of it is left")
    if start:
        machine.start()


def killed(group: Group) -> bool:
    """Whether nothing of it is left; what a killed host had begun to start may come late."""
    for pid in group.processes():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    group.freezer.thaw()
    return group.remove()


def slots(machine: HostProcess) -> list[str]:
    return [path.name for path in machine.places.slots.iterdir()]


def is_restoring(machine: HostProcess) -> bool:
    return any(machine.places.slots.glob("**/restoring-*"))


def memories(machine: HostProcess) -> list[Path]:
    """Memory that is on disk, finished or not."""
    return [*machine.places.slots.glob("*/memory"), *machine.places.slots.glob("*/memory.new")]


async def counts_on(sandbox: Sandboxed, after: int) -> None:
    """It counts beyond ``after``, and the timeline has every number once and in order."""
    machine = sandbox.host

    def further() -> bool:
        return len(counted(machine, sandbox.id)) > after + 5

    await asyncio.to_thread(until, further, what="it counts on")
    found = counted(machine, sandbox.id)
    assert found == list(range(1, len(found) + 1))


async def test_a_paused_one_outlives_the_machines_restart_as_it_was(
    machine: HostProcess,
) -> None:
    sandbox, client = await begun(machine), machine.client
    kept = await pause(sandbox)
    assert (kept.is_saved, kept.unsaved) == (True, "")
    assert [path.name for path in memories(machine)] == ["memory"]
    assert {path.stat().st_mode & 0o077 for path in memories(machine)} == {0}
    before = len(counted(machine, sandbox.id))
    for _ in range(2):
        await asyncio.to_thread(restart, machine)
        assert await client.statuses() == {sandbox.id: "paused"}
    with pytest.raises(HostError, match="resume it first"):
        await sandbox.exec("true")
    assert not (await client.metrics(sandbox.id, since=0)).running

    waking = await asyncio.gather(*(resume(sandbox) for _ in range(3)), return_exceptions=True)
    errors = [one for one in waking if isinstance(one, HostError)]
    assert [error.code for error in errors] == ["not_paused"] * 2
    await counts_on(sandbox, before)
    afresh = "rm piped; until [ -e piped ]; do sleep 0.01; done; cat piped seen /dev/shm/kept"
    assert await sandbox.output(afresh) == "through\ndeleted\nshared\n"
    assert memories(machine) == []
    assert (await client.metrics(sandbox.id, since=0)).running
    told = await asyncio.to_thread(machine.until_event, sandbox.id, "sandbox.resumed")
    assert "processes_lost" not in told.data


async def test_what_came_from_disk_is_written_there_again_and_shows_nobody_its_agent(
    machine: HostProcess,
) -> None:
    sandbox = await begun(machine)
    spying = "while :; do cat /proc/1/environ >>spied 2>/dev/null; done"
    await sandbox.output(f"({spying}) >/dev/null 2>&1 & echo begun")
    for _ in range(2):
        assert (await pause(sandbox)).is_saved
        await asyncio.to_thread(restart, machine)
        await resume(sandbox)
        await counts_on(sandbox, len(counted(machine, sandbox.id)))
        assert (await pause(sandbox)).is_saved
        await resume(sandbox)
        await counts_on(sandbox, len(counted(machine, sandbox.id)))
        assert await sandbox.output("od -c spied") == "0000000\n"
    assert "Permission denied" in await sandbox.output("cat /proc/1/mem 2>&1 || true")
    name = f"snap_{ULID()}"
    copied = await machine.client.snapshot(sandbox.id, snapshot_id=name, name="", actor=ACTOR)
    assert (copied.includes_memory, copied.without) == (True, "")
    told = [one for one in machine.events(sandbox.id) if "processes_lost" in one.data]
    assert told == []


async def test_one_can_be_ended_after_the_machines_restart(machine: HostProcess) -> None:
    sandbox = await begun(machine)
    await pause(sandbox)
    await asyncio.to_thread(restart, machine)
    await sandbox.terminate()

    def lost() -> bool:
        return any(one.data.get("error") == "agent_lost" for one in machine.events(sandbox.id))

    await asyncio.to_thread(until, lost, what="the end of its command is told")
    last = await asyncio.to_thread(machine.until_event, sandbox.id, "sandbox.terminated")
    assert last.data["reason"] == "requested"
    await asyncio.to_thread(until, lambda: memories(machine) == [], what="its memory is removed")


async def test_a_host_killed_while_it_writes_leaves_the_sandbox_running(
    machine: HostProcess,
) -> None:
    sandbox = await begun(machine)
    call = asyncio.ensure_future(pause(sandbox))
    await asyncio.to_thread(until, lambda: bool(memories(machine)), what="it writes memory")
    await asyncio.to_thread(machine.kill)
    with pytest.raises(HostError):
        await call
    before = len(counted(machine, sandbox.id))
    await asyncio.to_thread(machine.start)
    assert await machine.client.statuses() == {sandbox.id: "running"}
    assert memories(machine) == []
    await counts_on(sandbox, before)
    assert (await pause(sandbox)).is_saved
    await resume(sandbox)
    await counts_on(sandbox, len(counted(machine, sandbox.id)))


async def test_a_host_killed_while_it_restores_can_be_asked_again(
    machine: HostProcess,
) -> None:
    sandbox = await begun(machine)
    await sandbox.output("echo own > own.cr.1.ghost")
    await pause(sandbox)
    before = len(counted(machine, sandbox.id))
    await asyncio.to_thread(restart, machine)
    call = asyncio.ensure_future(resume(sandbox))
    await asyncio.to_thread(until, lambda: is_restoring(machine), what="it is being restored")
    await asyncio.to_thread(machine.kill)
    with pytest.raises(HostError):
        await call
    await asyncio.to_thread(machine.start)
    assert await machine.client.statuses() == {sandbox.id: "paused"}
    await resume(sandbox)
    await counts_on(sandbox, before)
    assert await sandbox.output("ls *.ghost; cat own.cr.1.ghost") == "own.cr.1.ghost\nown\n"


async def test_what_cannot_be_written_stays_paused_in_memory_and_says_so(
    machine: HostProcess,
) -> None:
    sandbox = await begun(machine)
    in_the_way = [slot / "memory.new" for slot in machine.places.slots.iterdir()]
    for path in in_the_way:
        path.write_text("in the way")
    kept = await pause(sandbox)
    assert not kept.is_saved
    assert kept.unsaved.startswith("The processes cannot be written to disk")
    told = await asyncio.to_thread(machine.until_event, sandbox.id, "sandbox.paused")
    assert (told.data["survives_machine_restart"], told.data["why_not"]) == (False, kept.unsaved)
    for path in in_the_way:
        path.unlink(missing_ok=True)
    before = len(counted(machine, sandbox.id))
    await resume(sandbox)
    await counts_on(sandbox, before)


async def test_images_that_are_of_no_use_give_the_files_and_a_reason(
    machine: HostProcess,
) -> None:
    sandbox = await begun(machine)
    await sandbox.output("echo kept > file")
    await pause(sandbox)
    await asyncio.to_thread(restart, machine, start=False)
    (images,) = memories(machine)
    (images / "images" / "inventory.img").write_bytes(b"")
    machine.start()
    await resume(sandbox)
    assert await sandbox.output("cat file") == "kept\n"
    told = await asyncio.to_thread(machine.until_event, sandbox.id, "sandbox.resumed")
    assert told.data["processes_lost"]

    def lost() -> bool:
        return any(one.data.get("error") == "agent_lost" for one in machine.events(sandbox.id))

    await asyncio.to_thread(until, lost, what="the end of its command is told")


async def test_forks_go_on_with_its_processes_each_by_itself(
    sandbox: Sandboxed, make_sandbox: Make
) -> None:
    text = "n=0; while :; do n=$((n+1)); echo $n > count.new; mv count.new count; "
    text += "head -c 20000 /dev/zero; done"
    await sandbox.output(f"( {text} ) >/dev/null 2>&1 & echo $! > pid")
    running = asyncio.ensure_future(sandbox.exec(text.replace("count", "loud"), timeout_seconds=60))
    await sandbox.output("until [ -e loud ]; do sleep 0.01; done")
    client, snapshot_id = sandbox.host.client, f"snap_{ULID()}"
    captured = await client.snapshot(sandbox.id, snapshot_id=snapshot_id, name="", actor=ACTOR)
    assert (captured.includes_memory, captured.without) == (True, "")
    modes = ("off", "restricted")
    forks = [await make_sandbox(snapshot=snapshot_id, network=mode) for mode in modes]
    for one in (sandbox, *forks):
        for file in ("count", "loud"):
            was = int(await one.output(f"cat {file}"))
            assert int(await one.output(f"sleep 0.5; cat {file}")) > was
    await forks[0].output("kill $(cat pid)")
    assert await forks[1].output("kill -0 $(cat pid) && echo lives") == "lives\n"
    told = await asyncio.to_thread(sandbox.host.until_event, forks[0].id, "sandbox.running")
    assert told.data["includes_memory"] is True
    owners = {owner(one) for one in (sandbox, *forks)}
    assert len(owners) == 3
    await asyncio.to_thread(same_walls, sandbox, forks[1])
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)


async def test_who_works_in_it_while_it_is_copied_only_waits(sandbox: Sandboxed) -> None:
    client, done = sandbox.host.client, asyncio.Event()

    async def work(name: str) -> int:
        count = 0
        while not done.is_set():
            count += 1
            said = f"{name} {count}"
            assert await sandbox.output(f"echo {said}") == f"{said}\n"
            path = f"/workspace/{name}"
            await client.write_file(sandbox.id, path, said.encode(), actor=ACTOR)
            read = await client.read_path(sandbox.id, path, actor=ACTOR)
            assert isinstance(read, FileContent) and read.content == said.encode()
        return count

    workers = [asyncio.ensure_future(work(f"worker{number}")) for number in range(3)]
    copied = []
    for _ in range(4):
        name = f"snap_{ULID()}"
        copied.append(await client.snapshot(sandbox.id, snapshot_id=name, name="", actor=ACTOR))
    done.set()
    assert all(count > 1 for count in await asyncio.gather(*workers))
    assert {one.without for one in copied} <= {"", NOTHING_RAN}


def owner(sandbox: Sandboxed) -> int:
    """Of its PID 1, as this machine counts."""
    return Path(f"/proc/{sandbox.host.init_pid(sandbox.id)}").stat().st_uid


def same_walls(one: Sandboxed, other: Sandboxed) -> None:
    """Nothing that confines a restored sandbox differs from what confines a started one."""
    pids = [each.host.init_pid(each.id) for each in (one, other)]
    status = [Path(f"/proc/{pid}/status").read_text() for pid in pids]
    for wanted in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"):
        assert len({_line(text, wanted) for text in status}) == 1, wanted
    assert len({Path(f"/proc/{pid}/limits").read_text() for pid in pids}) == 1
    assert _mounts(pids[0]) == _mounts(pids[1])
    for pid in pids:
        assert len(processes(one)) >= 2
        for kind in ("net", "pid", "ipc", "uts", "mnt", "user", "cgroup"):
            assert (
                Path(f"/proc/{pid}/ns/{kind}").readlink()
                != Path(f"/proc/self/ns/{kind}").readlink()
            )


def _line(status: str, name: str) -> str:
    return next(line for line in status.splitlines() if line.startswith(f"{name}:"))


def _mounts(pid: int) -> list[tuple[str, ...]]:
    """(root, place, options, type) of each mount."""
    found = []
    for line in Path(f"/proc/{pid}/mountinfo").read_text().splitlines():
        words = line.split()
        found.append((words[3], words[4], words[5], words[words.index("-") + 1]))
    return sorted(found)
