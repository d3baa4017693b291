"""Snapshots of sandboxes in which nothing runs, and forks that take a sandbox started ahead."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from sandboxes.host.runtime import GVISOR
from sandboxes.host.snapshots import NOTHING_RAN
from sandboxes.host.types import CapturedSandbox
from tests.sandboxes.host.hosting import ACTOR, HostProcess, Make, Sandboxed, both, new_spec
from tests.sandboxes.host.test_memory import begun, counted, created, pause, restart, resume
from tests.sandboxes.host.test_snapshots import new_id
from tests.waiting import until

#: A command line whose effect is in memory alone, and one that shows it again.
IN_MEMORY = {
    "a process": ("sleep 600 >/dev/null 2>&1 &", "pgrep -x sleep >/dev/null && echo there"),
    "a file of shared memory": ("echo there > /dev/shm/kept", "cat /dev/shm/kept"),
    "a file among devices": ("echo there > /dev/kept", "cat /dev/kept"),
    "a folder's mode": ("chmod 700 /dev/shm", "stat -c %a /dev/shm | sed s/700/there/"),
    "a message queue": ("ipcmk --queue", "ipcs -q | grep -q ^0x && echo there"),
    "shared memory": ("ipcmk --shmem 4096", "ipcs -m | grep -q ^0x && echo there"),
    "a limit": ("prlimit --pid 1 --nproc=61:61", "ulimit -u | sed s/61/there/"),
    "a priority": ("renice -n 3 -p 1", "nice | sed s/3/there/"),
}


async def captured(sandbox: Sandboxed) -> tuple[str, CapturedSandbox]:
    name = new_id()
    client = sandbox.host.client
    return name, await client.snapshot(sandbox.id, snapshot_id=name, name="base", actor=ACTOR)


def slot_of(sandbox: Sandboxed) -> str:
    folder = sandbox.host.directory / "sandboxes" / sandbox.id
    return str(json.loads((folder / "state.json").read_text())["slot"])


async def ready_slots(machine: HostProcess) -> set[str]:
    """Of sandboxes started ahead of time, which are all alike here, once there is one."""
    line = b"orkestr_host_ready_sandboxes 1.0"
    async with asyncio.timeout(30):
        while line not in (await machine.client.prometheus()).splitlines():  # noqa: ASYNC110
            await asyncio.sleep(0.02)
    live = await machine.client.statuses()
    taken = {slot_of(Sandboxed(machine, new_spec(sandbox_id=one))) for one in live}
    return {path.parent.name for path in machine.places.slots.glob("*/fresh")} - taken


async def test_nothing_ran_so_no_memory_is_kept_and_none_is_lost(
    sandbox: Sandboxed, make_sandbox: Make
) -> None:
    await sandbox.output("echo base > file; sleep 0.1")
    name, kept = await captured(sandbox)
    assert (kept.includes_memory, kept.without) == (False, NOTHING_RAN)
    told = await asyncio.to_thread(sandbox.host.until_event, sandbox.id, "snapshot.created")
    assert (told.data["includes_memory"], told.data["nothing_ran"]) == (False, True)
    fork = await make_sandbox(snapshot=name)
    assert await fork.output("cat file; echo fork > file") == "base\n"
    assert await sandbox.output("cat file") == "base\n"
    told = await asyncio.to_thread(fork.host.until_event, fork.id, "sandbox.running")
    assert "why_not" not in told.data
    _, again = await captured(fork)
    assert again.without == NOTHING_RAN


@pytest.mark.parametrize("what", IN_MEMORY)
async def test_whatever_is_in_memory_is_kept(
    sandbox: Sandboxed, make_sandbox: Make, what: str
) -> None:
    make, show = IN_MEMORY[what]
    await sandbox.output(make)
    name, kept = await captured(sandbox)
    assert (kept.includes_memory, kept.without) == (True, "")
    for one in (await make_sandbox(snapshot=name), sandbox):
        assert await one.output(show) == "there\n"


async def test_an_io_priority_stays_where_it_was_set(
    sandbox: Sandboxed, make_sandbox: Make
) -> None:
    """No copy could bring it back, with memory or without; nor is it found by anybody else."""
    await sandbox.output("ionice -c 3 -p 1")
    assert await sandbox.output("ionice") == "idle\n"
    name, kept = await captured(sandbox)
    assert kept.without == NOTHING_RAN
    for other in (await make_sandbox(snapshot=name), await make_sandbox()):
        assert await other.output("ionice") == "none: prio 0\n"


async def test_more_files_than_anybody_looks_through_are_kept(sandbox: Sandboxed) -> None:
    await sandbox.output("mkdir -p /dev/shm/a/b && cd /dev/shm/a/b && touch $(seq 2000)")
    _, kept = await captured(sandbox)
    assert (kept.includes_memory, kept.without) == (True, "")


async def test_what_was_in_memory_and_cannot_be_kept_is_told(sandbox: Sandboxed) -> None:
    await sandbox.output("touch /dev/mqueue/kept")
    _, kept = await captured(sandbox)
    assert not kept.includes_memory
    assert "mqueue" in kept.without
    told = await asyncio.to_thread(sandbox.host.until_event, sandbox.id, "snapshot.created")
    assert told.data["nothing_ran"] is False


async def test_a_kernel_that_cannot_be_looked_into_keeps_whatever_it_has(
    make_sandbox: Make,
) -> None:
    _, kept = await captured(await make_sandbox(isolation=GVISOR))
    assert (kept.includes_memory, kept.without) == (True, "")


async def test_no_process_is_ever_taken_for_none(sandbox: Sandboxed, make_sandbox: Make) -> None:
    """Commands come and go while copies are taken: a copy without memory has none half done."""
    done = asyncio.Event()

    async def work(name: str) -> int:
        count = 0
        while not done.is_set():
            count += 1
            await sandbox.output(f"echo begin >> {name}; sleep 0.05; echo end >> {name}")
            await asyncio.sleep(0.02)
        return count

    workers = [asyncio.ensure_future(work(name)) for name in ("one", "two")]
    copies = []
    for _ in range(8):
        copies.append(await captured(sandbox))
        await asyncio.sleep(0.03)
    done.set()
    assert all(count > 4 for count in await asyncio.gather(*workers))
    for name, kept in copies:
        assert kept.without in {"", NOTHING_RAN}
        if not kept.includes_memory:
            fork = await make_sandbox(snapshot=name)
            logs = await fork.output("touch one two; sort one two | uniq -c | tr -s ' '")
            counts = {what: count for count, what in map(str.split, logs.splitlines())}
            assert counts.get("begin") == counts.get("end"), logs
            await fork.terminate()


async def test_a_fork_takes_a_sandbox_that_was_started_ahead_and_is_like_any_other(
    machine: HostProcess,
) -> None:
    sandbox = await created(machine)
    await sandbox.output("echo base > /etc/marked; rm -r /opt; mkdir /opt /opt/own")
    name, _ = await captured(sandbox)
    ready = await ready_slots(machine)
    fork = await created(machine, snapshot=name)
    assert slot_of(fork) in ready
    assert await fork.output("cat /etc/marked; ls -A / /opt | grep -e own -e next") == "base\nown\n"
    seen = "cut -d' ' -f5-6 /proc/self/mountinfo | sort; ls -la /dev /proc/1/root/sys; df -P /"
    assert _alike(await fork.output(seen)) == _alike(await sandbox.output(seen))
    assert await fork.output("readlink /proc/self/cwd; cd ..; pwd; cd /..; ls -d .agent") == (
        "/workspace\n/\n.agent\n"
    )
    assert "Permission denied" in await fork.fails("ls /proc/1/root/")


def _alike(text: str) -> list[str]:
    """Without times and sizes."""
    return [line.split()[0] for line in text.splitlines() if line]


async def test_one_that_cannot_be_given_files_is_no_hindrance(
    machine: HostProcess,
) -> None:
    sandbox = await created(machine)
    await sandbox.output("echo base > file")
    name, _ = await captured(sandbox)
    ready = await ready_slots(machine)
    for one in ready:
        (machine.places.slots / one / "fork.ext4").mkdir()
    fork = await created(machine, snapshot=name)
    assert slot_of(fork) not in ready
    assert await fork.output("cat file") == "base\n"
    gone = [machine.places.slots / one for one in ready]
    await asyncio.to_thread(until, lambda: not any(map(Path.exists, gone)), what="it is removed")


@both
async def test_forks_of_forks_have_what_each_of_them_wrote(
    sandbox: Sandboxed, make_sandbox: Make
) -> None:
    await sandbox.output("useradd -m ann && su ann -c 'echo 0 > ~/line' && chmod 700 ~ann")
    one = sandbox
    for number in range(1, 3):
        name, _ = await captured(one)
        one = await make_sandbox(snapshot=name)
        await one.output(f"su ann -c 'echo {number} >> ~/line'")
    assert await one.output("cat ~ann/line; stat -c %U ~ann/line") == "0\n1\n2\nann\n"
    assert await sandbox.output("cat ~ann/line") == "0\n"


async def test_a_forks_processes_outlive_the_machines_restart(machine: HostProcess) -> None:
    source = await created(machine)
    await source.output("echo base > file")
    name, kept = await captured(source)
    assert kept.without == NOTHING_RAN
    ready = await ready_slots(machine)
    fork = await begun(machine, snapshot=name)
    assert slot_of(fork) in ready
    again, kept = await captured(fork)
    assert (kept.includes_memory, kept.without) == (True, "")
    assert (await pause(fork)).is_saved
    before = len(counted(machine, fork.id))
    await asyncio.to_thread(restart, machine)
    await resume(fork)

    def further() -> bool:
        return len(counted(machine, fork.id)) > before + 5

    await asyncio.to_thread(until, further, what="it counts on")
    assert await fork.output("cat file") == "base\n"
    second = await created(machine, snapshot=again)
    assert await second.output(
        "rm seen; until [ -e seen ]; do sleep 0.01; done; cat seen file"
    ) == ("deleted\nbase\n")


async def test_a_fork_is_found_again_by_the_next_host_and_nothing_of_it_is_left(
    machine: HostProcess,
) -> None:
    source = await created(machine)
    await source.output("echo kept > file")
    name, _ = await captured(source)
    ready = await ready_slots(machine)
    fork = await created(machine, snapshot=name)
    assert slot_of(fork) in ready
    await asyncio.to_thread(machine.kill)
    await asyncio.to_thread(machine.start)
    assert await fork.output("echo more >> file; cat file") == "kept\nmore\n"
    again, kept = await captured(fork)
    assert kept.without == NOTHING_RAN
    second = await created(machine, snapshot=again)
    assert await second.output("cat file; stat -c %U file") == "kept\nmore\nroot\n"
    slots = {slot_of(one) for one in (source, fork, second)}
    for one in (source, fork, second):
        await one.terminate()

    def is_gone() -> bool:
        return not any(slot in line for line in machine.traces() for slot in slots)

    await asyncio.to_thread(until, is_gone, what="nothing of them is left")
