"""A sandbox that overdoes it hurts only itself, and the timeline says what happened."""

from __future__ import annotations

import os
import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from sandboxes.host import endings
from sandboxes.host.box import Box
from sandboxes.host.cgroups import Counters
from sandboxes.host.limits import LimitWatch
from sandboxes.host.types import HostError
from tests.sandboxes.host.hosting import Make, Sandboxed, both, new_spec

MIB = 1024 * 1024


async def test_a_memory_bomb_ends_itself_and_is_told(make_sandbox: Make) -> None:
    bomb, neighbour = await make_sandbox(memory_mb=128), await make_sandbox()
    outcome = await bomb.exec("head -c 1G /dev/zero | tail", timeout_seconds=60)
    assert outcome.exit_code != 0 or outcome.signal
    event = bomb.host.until_event(bomb.id, "limit.hit")
    assert (event.data["limit"], event.data["cap"]) == ("memory", 128 * MIB)
    assert "128 MB" in event.data["detail"]
    assert await bomb.output("echo alive") == "alive\n"
    assert await neighbour.output("echo unharmed") == "unharmed\n"


async def test_a_memory_bomb_ends_a_gvisor_sandbox_and_is_told(make_sandbox: Make) -> None:
    """Its memory is its kernel's: the machine ends them together, and the timeline says why."""
    bomb, neighbour = await make_sandbox(memory_mb=128, isolation="gvisor"), await make_sandbox()
    with pytest.raises(HostError):
        await bomb.exec("head -c 1G /dev/zero | tail", timeout_seconds=60)
    failed = bomb.host.until_event(bomb.id, "sandbox.failed")
    assert failed.data["reason"] == "out_of_memory"
    kinds = [event.kind for event in bomb.host.events(bomb.id)]
    assert kinds[-3:] == ["command.exited", "limit.hit", "sandbox.failed"]
    assert await neighbour.output("echo unharmed") == "unharmed\n"


async def test_a_fork_bomb_is_held_by_gvisors_own_kernel(make_sandbox: Make) -> None:
    """Which counts by itself, so no event tells of it; the machine's count is of its threads."""
    bomb, neighbour = await make_sandbox(pids=32, isolation="gvisor"), await make_sandbox()
    outcome = await bomb.exec("for n in $(seq 64); do sleep 3 & done", timeout_seconds=20)
    assert b"Resource temporarily unavailable" in outcome.stderr
    await bomb.exec("b() { b | b & }; b; sleep 1", timeout_seconds=5)
    assert await neighbour.output("echo unharmed") == "unharmed\n"
    await bomb.terminate()
    bomb.host.until_event(bomb.id, "sandbox.terminated")
    assert "limit.hit" not in [event.kind for event in bomb.host.events(bomb.id)]


async def test_a_fork_bomb_is_held_and_told_once(make_sandbox: Make) -> None:
    bomb, neighbour = await make_sandbox(pids=32), await make_sandbox()
    await bomb.exec("b() { b | b & }; b; sleep 1", timeout_seconds=5)
    event = bomb.host.until_event(bomb.id, "limit.hit")
    assert (event.data["limit"], event.data["cap"]) == ("pids", 32)
    assert await neighbour.output("echo unharmed") == "unharmed\n"
    await bomb.terminate()
    bomb.host.until_event(bomb.id, "sandbox.terminated")
    kinds = [event.kind for event in bomb.host.events(bomb.id)]
    assert kinds.count("limit.hit") == 1


@both
async def test_a_full_disk_is_its_own_and_told(make_sandbox: Make) -> None:
    filler, neighbour = await make_sandbox(disk_mb=64), await make_sandbox()
    before = shutil.disk_usage(filler.host.directory).free
    assert "No space left" in await filler.fails(
        "dd if=/dev/zero of=/workspace/fill bs=1M count=1000"
    )
    event = filler.host.until_event(filler.id, "limit.hit")
    assert (event.data["limit"], event.data["cap"]) == ("disk", 64 * MIB)
    assert before - shutil.disk_usage(filler.host.directory).free < 2048 * MIB
    assert await neighbour.output("echo text > /workspace/f && cat /workspace/f") == "text\n"
    assert await filler.output(
        "rm /workspace/fill && echo again > /workspace/f && cat /workspace/f"
    )


async def test_space_that_is_freed_goes_back_to_the_machine(make_sandbox: Make) -> None:
    sandbox = await make_sandbox(disk_mb=128)
    (image,) = _images_of(sandbox.host.places.slots, sandbox.host.init_pid(sandbox.id))
    await sandbox.output("head -c 50M /dev/urandom > /workspace/f && sync")
    full = os.stat(image).st_blocks * 512  # noqa: PTH116
    await sandbox.output("rm /workspace/f && sync && sleep 0.2; sync")
    assert full > 50 * MIB
    assert os.stat(image).st_blocks * 512 < full - 40 * MIB  # noqa: PTH116


def _images_of(slots: Path, pid: int) -> list[Path]:
    return [
        path.parent / "disk.ext4"
        for path in slots.glob("*/slot.json")
        if f'"pid": {pid},' in path.read_text()
    ]


async def test_a_limit_met_just_before_the_end_is_still_told(make_sandbox: Make) -> None:
    bomb = await make_sandbox(memory_mb=64)
    await bomb.exec("head -c 1G /dev/zero | tail")
    await bomb.terminate()
    bomb.host.until_event(bomb.id, "sandbox.terminated")
    kinds = [event.kind for event in bomb.host.events(bomb.id)]
    assert kinds[-2:] in (
        ["limit.hit", "sandbox.terminated"],
        ["command.exited", "sandbox.terminated"],
    )
    assert "limit.hit" in kinds


@both
async def test_processor_time_is_limited_to_the_size(make_sandbox: Make) -> None:
    sandbox = await make_sandbox(cpu=0.25)
    busy = "timeout 3 sh -c 'while :; do :; done'"
    before, began = await used_seconds(sandbox), time.monotonic()
    await sandbox.output(f"{busy} & {busy}; wait")
    used, wall = await used_seconds(sandbox) - before, time.monotonic() - began
    # The machine's count, in which two busy processors are 2.0; a start is paid in advance.
    assert used < 0.25 * wall + 0.5, (used, wall)
    assert used > 0.2, "it was not busy"


async def used_seconds(sandbox: Sandboxed) -> float:
    return (await sandbox.host.client.metrics(sandbox.id)).cpu_us / 1e6


@dataclass
class Meters:
    """Stands in for a sandbox's cgroup and disk, whose counts a test sets."""

    counters: Counters = field(default_factory=lambda: Counters(0, 0))
    now: float = 0.0

    def watch(self, tmp_path: Path) -> LimitWatch:
        group = SimpleNamespace(counters=lambda: self.counters)
        slot = SimpleNamespace(group=group, root=os.open(tmp_path, os.O_PATH))
        box = SimpleNamespace(slot=slot, spec=new_spec(), memory_mb=256, pids=64)
        return LimitWatch(cast(Box, cast(Any, box)), clock=lambda: self.now)


def test_a_burst_is_one_event_and_the_next_burst_another(tmp_path: Path) -> None:
    meters = Meters()
    watch = meters.watch(tmp_path)
    told = []
    for second in range(60):
        meters.now = float(second)
        if 5 <= second < 20 or second >= 50:
            meters.counters = Counters(meters.counters.oom_kills + 3, 0)
        told += [(second, event.data["limit"]) for event in watch.look()]
    assert told == [(5, "memory"), (50, "memory")]


def test_memory_that_ran_out_a_moment_ago_explains_a_death(tmp_path: Path) -> None:
    meters = Meters(now=100.0)
    watch = meters.watch(tmp_path)
    watch.look()
    assert not watch.is_out_of_memory()
    meters.counters = Counters(1, 0)
    watch.look()
    meters.now += 2
    watch.look()
    assert watch.is_out_of_memory()
    meters.now += 60
    assert not watch.is_out_of_memory()


@pytest.mark.parametrize(
    ("how", "out_of_memory", "reason"),
    [
        ("signal 9", True, "out_of_memory"),
        ("signal 9", False, "killed"),
        ("", False, "killed"),
        ("status 1", False, "agent_exited"),
    ],
)
def test_a_death_is_told_with_its_cause(how: str, out_of_memory: bool, reason: str) -> None:
    event = endings.death(how, out_of_memory=out_of_memory)
    assert (event.kind, event.data["reason"]) == ("sandbox.failed", reason)
    assert event.data["detail"].endswith((".", ")."))


def test_what_was_counted_before_a_restart_is_not_told_again(tmp_path: Path) -> None:
    meters = Meters(Counters(7, 9))
    watch = meters.watch(tmp_path)
    watch.rebase()
    assert watch.look() == []
    meters.counters = Counters(7, 10)
    assert [event.data["limit"] for event in watch.look()] == ["pids"]
