"""What each isolation class costs, side by side at the host: start, exec, spawn, memory."""

from __future__ import annotations

import asyncio
import statistics
import time
from dataclasses import dataclass, field

from ulid import ULID

from sandboxes.host.client import HostClient
from sandboxes.host.runtime import GVISOR, RUNC
from sandboxes.host.types import CreateSpec, ExecRequest
from tests.bench.platform import Bench
from tests.bench.report import Row, milliseconds
from tests.sandboxes.host.hosting import HostProcess
from timeline.events import SYSTEM

_SPAWNS = 50
_SPAWN = f"for n in $(seq {_SPAWNS}); do /bin/true; done"


@dataclass
class _Costs:
    """Seconds, and bytes of working set in a sandbox that does nothing."""

    starts: list[float] = field(default_factory=list)
    execs: list[float] = field(default_factory=list)
    spawns: list[float] = field(default_factory=list)
    memory: list[int] = field(default_factory=list)


async def _timed(client: HostClient, sandbox_id: str, command: str) -> float:
    began = time.perf_counter()
    await client.exec(sandbox_id, ExecRequest(f"cmd_{ULID()}", command), actor=SYSTEM)
    return time.perf_counter() - began


async def _sandbox(client: HostClient, isolation: str, number: int, costs: _Costs) -> None:
    """One of a shape that nobody asked for before, so that none was started ahead of time."""
    spec = CreateSpec(
        sandbox_id=f"sbx_{ULID()}",
        template="debian-12",
        size="bench",
        cpu=1.0,
        memory_mb=512 + number,
        disk_mb=512,
        pids=256,
        network="off",
        timeout_seconds=600,
        expires_at="2100-01-01T00:00:00+00:00",
        isolation=isolation,
    )
    began = time.perf_counter()
    await client.create(spec, actor=SYSTEM)
    costs.starts.append(time.perf_counter() - began)
    try:
        for _ in range(10):
            costs.execs.append(await _timed(client, spec.sandbox_id, "true"))
        whole = await _timed(client, spec.sandbox_id, _SPAWN)
        costs.spawns.append((whole - statistics.median(costs.execs)) / _SPAWNS)
        found = await client.metrics(spec.sandbox_id)
        while not found.samples:
            await asyncio.sleep(0.2)
            found = await client.metrics(spec.sandbox_id)
        costs.memory.append(found.samples[-1].memory)
    finally:
        await client.terminate(spec.sandbox_id, actor=SYSTEM, reason="requested")


def isolation(bench: Bench) -> list[Row]:
    """The table of docs/isolation.md, at a host of its own: a platform ends what has no row."""
    host = HostProcess(bench.stack.layout.templates, "unix:///nonexistent/valkey.sock")
    client = host.client
    costs = {RUNC: _Costs(), GVISOR: _Costs()}

    async def measure() -> None:
        for number in range(bench.many(20)):
            for name, each in costs.items():
                await _sandbox(client, name, number, each)

    try:
        host.start()
        asyncio.run(measure())
    finally:
        host.close()
    runc, gvisor = costs[RUNC], costs[GVISOR]
    rows = [
        ("start, none ready", milliseconds(gvisor.starts), milliseconds(runc.starts)),
        ('`exec("true")` at the host', milliseconds(gvisor.execs), milliseconds(runc.execs)),
        ("one more process from a shell", milliseconds(gvisor.spawns), milliseconds(runc.spawns)),
        ("memory of an idle one", _megabytes(gvisor.memory), _megabytes(runc.memory)),
    ]
    return [
        Row(what=f"gVisor: {what}", measured=ours, against=f"runc: {theirs}", target="-", met=True)
        for what, ours, theirs in rows
    ]


def _megabytes(numbers: list[int]) -> str:
    return f"{statistics.median(numbers) / 2**20:.1f} MB"


MEASUREMENTS = {"isolation": isolation}
