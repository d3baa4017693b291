"""Memory on disk while a terminal is open, a context lives or a volume is there."""

from __future__ import annotations

import asyncio
import re

import pytest
from ulid import ULID

from sandboxes.host.terminals.client import TerminalClient
from tests.sandboxes.host.code.test_isolation import run
from tests.sandboxes.host.hosting import ACTOR, HostProcess, Sandboxed
from tests.sandboxes.host.terminals.visiting import ANN, Visit, new_terminal, visit
from tests.sandboxes.host.test_memory import created, pause, restart, resume
from tests.sandboxes.host.test_volumes import new_volume

KEYS = 400
#: What writes to a volume through a descriptor that stays open.
LOGS = """
cd /persist; exec 5>>log
n=0; while :; do n=$((n+1)); echo $n >&5; echo $n > at.new; mv at.new at; sleep 0.02; done
"""


@pytest.fixture
def client(machine: HostProcess) -> TerminalClient:
    return TerminalClient(str(machine.socket))


async def interpreting(machine: HostProcess) -> Sandboxed:
    return await created(machine, template="code-interpreter", memory_mb=512)


async def open_in(client: TerminalClient, sandbox: Sandboxed) -> str:
    return (await client.terminal_open(sandbox.id, new_terminal(), actor=ANN)).id


async def answers(shell: Visit, said: str) -> None:
    """The shell does what is typed now, and still knows what it knew."""
    await shell.line(f'echo "{said} $known $$ $(stty size)"')
    await shell.sees(f"{said} yes ")


async def copy(sandbox: Sandboxed) -> None:
    """A snapshot with memory."""
    client, name = sandbox.host.client, f"snap_{ULID()}"
    captured = await client.snapshot(sandbox.id, snapshot_id=name, name="", actor=ACTOR)
    assert (captured.includes_memory, captured.without) == (True, "")
    await client.snapshot_drop(name)


async def test_terminals_and_variables_outlive_the_machines_restart(
    machine: HostProcess, client: TerminalClient
) -> None:
    sandbox = await interpreting(machine)
    terminal = await open_in(client, sandbox)
    async with visit(client, sandbox.id, terminal, seat="left") as shell:
        await shell.line("known=yes")
        await answers(shell, "before")
    await run(sandbox, "x = 20")
    kept = await pause(sandbox)
    assert (kept.is_saved, kept.unsaved) == (True, "")
    await asyncio.to_thread(restart, machine)
    await resume(sandbox)
    async with visit(client, sandbox.id, terminal, seat="left") as shell:
        await answers(shell, "after")
        done, told = await run(sandbox, "x * 3")
        assert "60" in told
        assert (done["restarted"], done["execution_count"]) == (False, 2)
        await shell.line("exit 7")
        await shell.hears("closed", exit_code=7, lost=False)
    await asyncio.to_thread(machine.until_event, sandbox.id, "terminal.closed")
    told_of = [one.kind for one in machine.events(sandbox.id)]
    assert told_of.count("terminal.closed") == 1
    assert "processes_lost" not in str([one.data for one in machine.events(sandbox.id)])


async def test_a_resume_in_the_same_machine_leaves_who_watches_where_they_were(
    machine: HostProcess, client: TerminalClient
) -> None:
    sandbox = await interpreting(machine)
    terminal = await open_in(client, sandbox)
    await run(sandbox, "x = 20")
    cell = asyncio.ensure_future(
        run(sandbox, "import time\nfor n in range(40): time.sleep(0.1); print('at', n)")
    )
    async with visit(client, sandbox.id, terminal) as shell:
        await shell.line("known=yes")
        await answers(shell, "before")
        assert (await pause(sandbox)).is_saved
        await resume(sandbox)
        await answers(shell, "after")
        assert shell.screens == 1
    done, told = await cell
    assert not done["restarted"]
    assert re.findall(r"at (\d+)", told) == [str(n) for n in range(40)]
    assert (await run(sandbox, "x"))[1].count("20") == 1


async def test_no_key_is_lost_or_comes_twice_while_copies_are_taken(
    machine: HostProcess, client: TerminalClient
) -> None:
    sandbox = await created(machine)
    terminal = await open_in(client, sandbox)
    typed = "".join(f"{number:05d}." for number in range(KEYS))
    async with visit(client, sandbox.id, terminal) as shell:
        await shell.line(f"stty raw -echo; head -c {len(typed)} > keys; stty sane; echo all''there")
        copies = asyncio.create_task(copy_often(sandbox, times=3))
        await sandbox.output("until [ -e keys ]; do sleep 0.01; done")
        for number in range(KEYS):
            await shell.attendance.type(typed[number * 6 : number * 6 + 6].encode())
            await asyncio.sleep(0.005)
        await copies
        await shell.sees("allthere")
    assert await sandbox.output("cat keys") == typed


async def copy_often(sandbox: Sandboxed, *, times: int) -> None:
    for _ in range(times):
        await copy(sandbox)


async def test_a_volume_is_back_with_what_is_open_in_it(machine: HostProcess) -> None:
    volume = await new_volume(machine)
    sandbox = await created(machine, volume=volume, volume_name="data")
    await sandbox.output(
        f"({LOGS}) >/dev/null 2>&1 & until [ -e /persist/at ]; do sleep 0.01; done"
    )
    name = f"snap_{ULID()}"
    copied = await machine.client.snapshot(sandbox.id, snapshot_id=name, name="", actor=ACTOR)
    assert copied.without == "It has a volume, which belongs to no copy."
    for _ in range(2):
        kept = await pause(sandbox)
        assert (kept.is_saved, kept.unsaved) == (True, "")
        await asyncio.to_thread(restart, machine)
        await resume(sandbox)
        was = await sandbox.output("cat /persist/at")
        await sandbox.output(f"until [ $(cat /persist/at) -gt {was.strip()} ]; do sleep 0.01; done")
    assert "processes_lost" not in str([one.data for one in machine.events(sandbox.id)])
    logged = [int(line) for line in (await sandbox.output("cat /persist/log")).split()]
    assert logged == list(range(1, len(logged) + 1))
    await sandbox.terminate()
    other = await created(machine, volume=volume, volume_name="data")
    assert (await other.output(f"head -n {len(logged)} /persist/log")).split() == [
        *map(str, logged)
    ]
