"""Volumes at the host: disks that outlive sandboxes, one holder at a time."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from pathlib import Path

import pytest
from ulid import ULID

from sandboxes.host.types import HostError
from sandboxes.host.volume_client import VolumeClient
from tests.sandboxes.host.hosting import ACTOR, HostProcess, Make, Sandboxed, both, new_spec
from tests.waiting import until


def volumes_of(host: HostProcess) -> VolumeClient:
    return VolumeClient(str(host.socket))


def image_of(host: HostProcess, volume_id: str) -> Path:
    return host.directory / "volumes" / f"{volume_id}.ext4"


async def new_volume(host: HostProcess, *, size_mb: int = 256) -> str:
    volume_id = f"vol_{ULID()}"
    await volumes_of(host).volume_make(volume_id, size_mb=size_mb)
    return volume_id


async def refusal(make_sandbox: Make, **changes: object) -> str:
    with pytest.raises(HostError) as caught:
        await make_sandbox(**changes)
    return caught.value.code


@both
async def test_what_was_written_is_there_for_the_next_with_its_owners(
    host: HostProcess, make_sandbox: Make
) -> None:
    volume = await new_volume(host)
    first = await make_sandbox(volume=volume, volume_name="data")
    assert await first.output("ls -A /persist; stat -c %U:%a /persist") == "root:755\n"
    await first.output("cd /persist && mkdir deep && echo one > deep/file && ln deep/file hard")
    await first.output("chown 7:9 /persist/hard")
    await first.output(
        "head -c 30000000 /dev/urandom > /persist/big; cd /persist; sha256sum big > sum"
    )
    await first.terminate()
    second = await make_sandbox(volume=volume, volume_name="data")
    look = "cd /persist && sha256sum -c sum && cat hard && stat -c %u:%g:%h deep/file && rm big"
    assert await second.output(look) == "big: OK\none\n7:9:2\n"
    told = await asyncio.to_thread(host.until_event, second.id, "volume.attached")
    assert told.data == {
        "volume_id": volume,
        "name": "data",
        "size_mb": 256,
        "path": "/persist",
    }
    assert told.actor == ACTOR


async def test_without_a_volume_persist_is_the_sandboxs_own(make_sandbox: Make) -> None:
    first, second = await make_sandbox(), await make_sandbox()
    await first.output("echo mine > /persist/file")
    assert await second.output("ls -A /persist") == ""


async def test_one_holder_at_a_time(host: HostProcess, make_sandbox: Make) -> None:
    volume = await new_volume(host)
    holder = await make_sandbox(volume=volume)
    with pytest.raises(HostError) as caught:
        await volumes_of(host).volume_drop(volume)
    assert caught.value.code == "volume_in_use"
    waiting = asyncio.ensure_future(make_sandbox(volume=volume))
    assert not (await asyncio.wait({waiting}, timeout=0.2))[0]
    await holder.output("echo last > /persist/file")
    await holder.terminate()
    assert await (await waiting).output("cat /persist/file") == "last\n"


async def test_a_volume_cannot_be_moved_hidden_or_made_a_way_out(
    host: HostProcess, make_sandbox: Make
) -> None:
    sandbox = await make_sandbox(volume=await new_volume(host))
    for attempt in (
        "umount /persist",
        "mv /persist /elsewhere",
        "rmdir /persist",
        "mount -o remount,dev,suid /persist",
        "mknod /persist/disk b 7 0",
        "cat /persist/../../etc/shadow.host",
    ):
        assert await sandbox.fails(attempt)
    assert (
        await sandbox.output("cp /bin/true /persist/x && chmod u+s /persist/x && /persist/x") == ""
    )
    assert "nosuid,nodev" in await sandbox.output("grep ' /persist ' /proc/mounts")


async def test_a_full_one_hurts_nobody_else(host: HostProcess, make_sandbox: Make) -> None:
    sandbox = await make_sandbox(volume=await new_volume(host, size_mb=64), disk_mb=256)
    neighbour = await make_sandbox(volume=await new_volume(host))
    assert "No space left" in await sandbox.fails("head -c 100000000 /dev/zero > /persist/fill")
    hit = await asyncio.to_thread(host.until_event, sandbox.id, "limit.hit")
    assert (hit.data["limit"], "/persist is full" in hit.data["detail"]) == ("volume", True)
    assert "No space left" in await sandbox.fails(
        "rm /persist/fill; i=0; while :; do i=$((i+1)); : > /persist/f$i || exit 1; done"
    )
    await sandbox.output("head -c 60000000 /dev/zero > /workspace/file && rm /persist/f1")
    await neighbour.output("head -c 60000000 /dev/zero > /persist/file")
    assert "limit.hit" not in [event.kind for event in host.events(neighbour.id)]


async def test_what_is_deleted_inside_is_given_back_to_the_machine(
    host: HostProcess, make_sandbox: Make
) -> None:
    volume = await new_volume(host)
    sandbox = await make_sandbox(volume=volume)
    image = image_of(host, volume)
    assert image.stat().st_blocks * 512 < 2_000_000
    await sandbox.output("head -c 90000000 /dev/urandom > /persist/big && sync")
    assert image.stat().st_blocks * 512 > 90_000_000
    await sandbox.output("rm /persist/big && sync")

    def given_back() -> bool:
        return image.stat().st_blocks * 512 < 10_000_000

    await asyncio.to_thread(until, given_back, what="the blocks are given back")


@both
async def test_a_paused_one_keeps_it_and_its_files_stay_open(
    host: HostProcess, make_sandbox: Make
) -> None:
    volume = await new_volume(host)
    sandbox = await make_sandbox(volume=volume)
    script = "exec > /persist/file; until [ -e go ]; do sleep 0.05; done; cat go"
    await sandbox.output(f"({script}) 2>/dev/null &")
    await host.client.pause(
        sandbox.id, snapshot_id=f"snap_{ULID()}", reason="requested", actor=ACTOR
    )
    with pytest.raises(HostError) as caught:
        await volumes_of(host).volume_drop(volume)
    assert caught.value.code == "volume_in_use"
    await host.client.resume(
        sandbox.id, reason="requested", timeout_seconds=60, expires_at="", actor=ACTOR
    )
    assert (
        await sandbox.output("echo written > go; until [ -s /persist/file ]; do sleep 0.05; done")
        == ""
    )


async def test_a_snapshot_leaves_it_out_and_a_fork_may_have_one_of_its_own(
    host: HostProcess, make_sandbox: Make
) -> None:
    volume = await new_volume(host)
    source = await make_sandbox(volume=volume)
    await source.output("echo kept > /workspace/file; echo volume > /persist/file")
    snapshot = f"snap_{ULID()}"
    await host.client.snapshot(source.id, snapshot_id=snapshot, name="", actor=ACTOR)
    bare = await make_sandbox(snapshot=snapshot)
    assert await bare.output("cat /workspace/file; ls -A /persist") == "kept\n"
    await source.terminate()
    fork = await make_sandbox(snapshot=snapshot, volume=volume)
    assert await fork.output("cat /workspace/file /persist/file; stat -c %u /persist/file") == (
        "kept\nvolume\n0\n"
    )
    assert await fork.output("echo fork > /persist/file; cat /persist/file") == "fork\n"


async def test_a_fork_with_something_else_in_its_place_is_refused(
    host: HostProcess, make_sandbox: Make
) -> None:
    source = await make_sandbox()
    await source.output("rmdir /persist && ln -s /etc /persist")
    snapshot = f"snap_{ULID()}"
    await host.client.snapshot(source.id, snapshot_id=snapshot, name="", actor=ACTOR)
    volume = await new_volume(host)
    assert await refusal(make_sandbox, snapshot=snapshot, volume=volume) == "not_a_directory"
    await volumes_of(host).volume_drop(volume)


async def test_a_dropped_one_is_gone_and_making_it_twice_keeps_what_is_there(
    host: HostProcess, make_sandbox: Make
) -> None:
    client, volume = volumes_of(host), await new_volume(host)
    sandbox = await make_sandbox(volume=volume)
    await sandbox.output("echo kept > /persist/file")
    await client.volume_make(volume, size_mb=512)
    await sandbox.terminate()
    assert await (await make_sandbox(volume=volume)).output("cat /persist/file") == "kept\n"
    assert volume in await client.volume_ids()
    other = await new_volume(host)
    for _ in range(2):
        await client.volume_drop(other)
    assert other not in await client.volume_ids()
    assert await refusal(make_sandbox, volume=other) == "volume_gone"


@pytest.mark.parametrize("name", ["../../etc", "vol_", "vol_" + "I" * 26, "vol_x/../y"])
async def test_an_id_that_is_none_reaches_no_file(host: HostProcess, name: str) -> None:
    client = volumes_of(host)
    for call in (
        client.volume_make(name, size_mb=256),
        client.volume_drop(name),
        client.create(new_spec(volume=name), actor=ACTOR),
    ):
        with pytest.raises(HostError) as caught:
            await call
        assert caught.value.code == "volume_gone"


async def test_one_whose_filesystem_has_errors_is_repaired(
    host: HostProcess, make_sandbox: Make
) -> None:
    volume = await new_volume(host)
    first = await make_sandbox(volume=volume)
    await first.output("echo kept > /persist/file")
    await first.terminate()
    damage = ["/usr/sbin/debugfs", "-w", "-R", "set_super_value state 3"]
    await asyncio.to_thread(
        subprocess.run, [*damage, str(image_of(host, volume))], check=True, capture_output=True
    )
    second = await make_sandbox(volume=volume)
    assert await second.output("cat /persist/file && echo more > /persist/more") == "kept\n"


async def test_it_outlives_a_killed_host_and_a_killed_sandbox(own: HostProcess) -> None:
    volume = await new_volume(own)
    sandbox = Sandboxed(own, new_spec(volume=volume))
    await own.client.create(sandbox.spec, actor=ACTOR)
    await sandbox.output("echo one > /persist/file")
    unfinished = own.directory / "volumes" / f"{volume}-x.new"
    unfinished.touch()
    own.kill()
    own.start()
    assert not unfinished.exists()
    with pytest.raises(HostError) as caught:
        await volumes_of(own).volume_drop(volume)
    assert caught.value.code == "volume_in_use"
    await sandbox.output("echo two >> /persist/file")
    pid = own.init_pid(sandbox.id)
    own.kill()
    os.kill(pid, signal.SIGKILL)
    own.start()
    again = Sandboxed(own, new_spec(volume=volume))
    await own.client.create(again.spec, actor=ACTOR)
    assert await again.output("cat /persist/file") == "one\ntwo\n"
    await again.terminate()
    await volumes_of(own).volume_drop(volume)
    assert own.end(signal.SIGINT) == 0
    assert own.traces() == []


async def test_creates_cut_off_by_a_killed_host_let_go_of_their_volume(own: HostProcess) -> None:
    volumes = [await new_volume(own) for _ in range(4)]
    specs = [new_spec(volume=volume) for volume in volumes]
    creates = [asyncio.ensure_future(own.client.create(spec, actor=ACTOR)) for spec in specs]

    def mounted() -> bool:
        loops = Path("/sys/block").glob("loop*/loop/backing_file")
        return any(str(own.directory / "volumes") in path.read_text() for path in loops)

    await asyncio.to_thread(until, mounted, what="a volume is mounted")
    own.kill()
    await asyncio.gather(*creates, return_exceptions=True)
    own.start()
    for sandbox_id in await own.client.sandboxes():
        await own.client.terminate(sandbox_id, actor=ACTOR, reason="requested")
    for volume in volumes:
        again = Sandboxed(own, new_spec(volume=volume))
        await own.client.create(again.spec, actor=ACTOR)
        await again.output("echo alive > /persist/file")
        await again.terminate()


async def test_it_tells_what_each_takes_of_the_hosts_disk(
    host: HostProcess, make_sandbox: Make
) -> None:
    client, volume = volumes_of(host), await new_volume(host)
    absent = f"vol_{ULID()}"
    before = (await client.volume_used([volume, absent]))[volume]
    assert before < 8 << 20
    sandbox = await make_sandbox(volume=volume)
    await sandbox.output("head -c 20000000 /dev/urandom > /persist/big")
    await sandbox.terminate()
    used = await client.volume_used([volume, absent])
    assert list(used) == [volume]
    assert 20_000_000 <= used[volume] - before < 28_000_000
    with pytest.raises(HostError) as caught:
        await client.volume_used(["../../etc"])
    assert caught.value.code == "volume_gone"
