"""Memory on disk of sandboxes whose kernel is their own."""

from __future__ import annotations

import asyncio
import os

from ulid import ULID

from sandboxes.host.runtime import GVISOR
from sandboxes.host.terminals.client import TerminalClient
from tests.sandboxes.host.hosting import ACTOR, HostProcess, Make, Sandboxed
from tests.sandboxes.host.terminals.visiting import ANN, new_terminal, visit
from tests.sandboxes.host.test_memory import (
    BUSY,
    begun,
    counted,
    counts_on,
    created,
    memories,
    pause,
    restart,
    resume,
)

#: ``BUSY`` without what gVisor cannot write down: a deleted file that is open.
CALM = BUSY.replace("rm gone;", "")


async def counting(machine: HostProcess, **changes: object) -> Sandboxed:
    return await begun(machine, CALM, isolation=GVISOR, **changes)


async def copied(sandbox: Sandboxed) -> tuple[str, str]:
    """A snapshot's name, and why it is without memory."""
    client, name = sandbox.host.client, f"snap_{ULID()}"
    captured = await client.snapshot(sandbox.id, snapshot_id=name, name="", actor=ACTOR)
    assert captured.includes_memory is not bool(captured.without)
    return name, captured.without


async def test_it_outlives_the_machines_restart_more_than_once(machine: HostProcess) -> None:
    sandbox = await counting(machine, network="restricted")
    client = TerminalClient(str(machine.socket))
    terminal = (await client.terminal_open(sandbox.id, new_terminal(), actor=ANN)).id
    async with visit(client, sandbox.id, terminal, seat="left") as shell:
        await shell.line("known=yes; echo be''fore")
        await shell.sees("before")
    for _ in range(2):
        kept = await pause(sandbox)
        assert (kept.is_saved, kept.unsaved) == (True, "")
        before = len(counted(machine, sandbox.id))
        await asyncio.to_thread(restart, machine)
        assert await machine.client.statuses() == {sandbox.id: "paused"}
        await resume(sandbox)
        await counts_on(sandbox, before)
    async with visit(client, sandbox.id, terminal, seat="left") as shell:
        await shell.line('echo "after $known"')
        await shell.sees("after yes")
    afresh = "rm piped; until [ -e piped ]; do sleep 0.01; done; cat piped /dev/shm/kept"
    assert await sandbox.output(afresh) == "through\nshared\n"
    assert memories(machine) == []
    assert "processes_lost" not in str([one.data for one in machine.events(sandbox.id)])


async def test_a_resume_in_the_same_machine_lets_all_of_it_go_on(machine: HostProcess) -> None:
    sandbox = await counting(machine)
    for _ in range(2):
        assert (await pause(sandbox)).is_saved
        before = len(counted(machine, sandbox.id))
        await resume(sandbox)
        await counts_on(sandbox, before)
    assert (await pause(sandbox)).is_saved
    await asyncio.to_thread(machine.kill)
    await asyncio.to_thread(machine.start)
    before = len(counted(machine, sandbox.id))
    await resume(sandbox)
    await counts_on(sandbox, before)


async def test_forks_go_on_with_its_processes_each_by_itself(make_sandbox: Make) -> None:
    sandbox = await make_sandbox(isolation=GVISOR)
    text = "n=0; while :; do n=$((n+1)); echo $n > count.new; mv count.new count; done"
    await sandbox.output(f"( {text} ) >/dev/null 2>&1 & echo $! > pid; rm -r /tmp; ln -s /etc /tmp")
    name, without = await copied(sandbox)
    assert without == ""
    forks = [await make_sandbox(isolation=GVISOR, snapshot=name) for _ in range(2)]
    for one in (sandbox, *forks):
        was = int(await one.output("until cat count; do :; done"))
        await one.output(f'until [ "$(cat count)" -gt {was} ] 2>/dev/null; do sleep 0.01; done')
    await forks[0].output("kill $(cat pid)")
    assert await forks[1].output("kill -0 $(cat pid) && echo lives") == "lives\n"
    assert ".agent" not in await asyncio.to_thread(os.listdir, "/etc")


async def test_what_its_kernel_cannot_write_down_is_told(machine: HostProcess) -> None:
    sandbox = await created(machine, isolation=GVISOR)
    await sandbox.output("(exec 5<>gone; rm gone; sleep 600) >/dev/null 2>&1 & sleep 0.2")
    kept = await pause(sandbox)
    assert not kept.is_saved
    assert "deleted" in kept.unsaved
    await resume(sandbox)
    assert await sandbox.output("echo goes on") == "goes on\n"
