"""Copies of disks at the host: taken while a sandbox runs, forked as often as wanted."""

from __future__ import annotations

import asyncio

import pytest
from ulid import ULID

from sandboxes.host.types import HostError
from tests.sandboxes.host.hosting import ACTOR, HostProcess, Make, Sandboxed, both, new_spec


def new_id() -> str:
    return f"snap_{ULID()}"


async def capture(sandbox: Sandboxed, snapshot_id: str | None = None) -> str:
    made = snapshot_id or new_id()
    client = sandbox.host.client
    kept = await client.snapshot(sandbox.id, snapshot_id=made, name="base", actor=ACTOR)
    assert kept.size_mb >= 1
    assert kept.includes_memory is not bool(kept.without)
    return made


@both
async def test_a_fork_has_the_files_and_the_source_goes_on(
    sandbox: Sandboxed, make_sandbox: Make
) -> None:
    await sandbox.output("mkdir -p deep/er && echo one > deep/er/file && ln -s deep link")
    await sandbox.output("useradd -m someone && su someone -c 'echo mine > ~/note'")
    await sandbox.output("(while :; do date +%N > tick; done) >/dev/null 2>&1 & echo $! > pid")
    snapshot_id = await capture(sandbox)
    assert await sandbox.output("kill -0 $(cat pid) && cat link/er/file") == "one\n"

    fork = await make_sandbox(snapshot=snapshot_id)
    assert await fork.output("cat link/er/file; whoami; stat -c %U link/er/file") == (
        "one\nroot\nroot\n"
    )
    assert await fork.output("stat -c %U:%G ~someone/note; cat ~someone/note") == (
        "someone:someone\nmine\n"
    )
    await fork.output("su someone -c 'echo more >> ~/note' && rm -r deep && mkdir deep")
    assert await fork.output("ls deep") == ""
    assert await sandbox.output("cat deep/er/file ~someone/note") == "one\nmine\n"


async def test_forks_diverge_and_can_be_captured_again(
    sandbox: Sandboxed, make_sandbox: Make
) -> None:
    await sandbox.output("echo base > file")
    first = await capture(sandbox)
    await sandbox.output("echo source > file")
    forks = [await make_sandbox(snapshot=first) for _ in range(2)]
    for number, fork in enumerate(forks):
        assert await fork.output("cat file") == "base\n"
        await fork.output(f"echo {number} > file; chown 7:7 file")
    second = await capture(forks[1])
    again = await make_sandbox(snapshot=second)
    assert await again.output("cat file; stat -c %u:%g file") == "1\n7:7\n"
    assert await forks[0].output("cat file") == "0\n"
    assert await sandbox.output("cat file") == "source\n"


@both
async def test_what_was_just_written_is_in_it(sandbox: Sandboxed, make_sandbox: Make) -> None:
    await sandbox.output("head -c 20000000 /dev/urandom > big; sha256sum big > sum")
    fork = await make_sandbox(snapshot=await capture(sandbox))
    assert await fork.output("sha256sum -c sum") == "big: OK\n"


async def test_a_paused_one_can_be_captured(sandbox: Sandboxed, make_sandbox: Make) -> None:
    await sandbox.output("echo kept > file")
    client = sandbox.host.client
    await client.pause(sandbox.id, snapshot_id=new_id(), reason="requested", actor=ACTOR)
    fork = await make_sandbox(snapshot=await capture(sandbox))
    assert await fork.output("cat file") == "kept\n"
    assert (await client.statuses())[sandbox.id] == "paused"


async def test_a_fork_has_an_environment_of_its_own(make_sandbox: Make) -> None:
    source = await make_sandbox(env={"SECRET": "source"})
    fork = await make_sandbox(snapshot=await capture(source), env={"OTHER": "fork"})
    assert await fork.output("echo ${SECRET-none} $OTHER") == "none fork\n"


async def test_it_is_told_with_who_and_how_large(sandbox: Sandboxed) -> None:
    snapshot_id = await capture(sandbox)
    event = await asyncio.to_thread(sandbox.host.until_event, sandbox.id, "snapshot.created")
    assert event.data["snapshot_id"] == snapshot_id
    assert (event.data["name"], event.data["size_mb"] >= 1) == ("base", True)
    assert event.actor == ACTOR


async def test_one_that_was_dropped_cannot_be_forked(
    sandbox: Sandboxed, make_sandbox: Make
) -> None:
    snapshot_id = await capture(sandbox)
    for _ in range(2):
        await sandbox.host.client.snapshot_drop(snapshot_id)
    with pytest.raises(HostError) as caught:
        await make_sandbox(snapshot=snapshot_id)
    assert caught.value.code == "snapshot_gone"


@pytest.mark.parametrize("name", ["../../etc", "snap_", "snap_" + "I" * 26, "snap_x/../y"])
async def test_an_id_that_is_none_reaches_no_file(sandbox: Sandboxed, name: str) -> None:
    client = sandbox.host.client
    for call in (
        client.snapshot(sandbox.id, snapshot_id=name, name="", actor=ACTOR),
        client.snapshot_drop(name),
        client.create(new_spec(snapshot=name), actor=ACTOR),
    ):
        with pytest.raises(HostError) as caught:
            await call
        assert caught.value.code == "snapshot_gone"


async def test_snapshots_and_forks_outlive_a_killed_host(own: HostProcess) -> None:
    source = Sandboxed(own, new_spec())
    await own.client.create(source.spec, actor=ACTOR)
    await source.output("echo kept > file")
    snapshot_id = await capture(source)
    fork = Sandboxed(own, new_spec(snapshot=snapshot_id))
    await own.client.create(fork.spec, actor=ACTOR)
    unfinished = own.directory / "snapshots" / f"{new_id()}.new"
    unfinished.mkdir()
    own.kill()
    own.start()
    assert await fork.output("echo more >> file; cat file") == "kept\nmore\n"
    again = Sandboxed(own, new_spec(snapshot=await capture(fork)))
    await own.client.create(again.spec, actor=ACTOR)
    assert await again.output("cat file; stat -c %U file") == "kept\nmore\nroot\n"
    assert not unfinished.exists()
