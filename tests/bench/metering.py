"""What it costs to know what 200 sandboxes use: sampled every second, counted every three."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import psutil
from orkestr import Sandbox

from console.celery import app
from sandboxes.host.cgroups import Cgroups
from sandboxes.host.client import HostClient
from sandboxes.host.meter import INTERVAL_SECONDS, Meter
from sandboxes.host.places import Places
from sandboxes.usage.services import usage_collect
from tests.bench.platform import Bench
from tests.bench.report import Row

SANDBOXES = 200


def metering(bench: Bench) -> list[Row]:
    """Processor time of one round of samples and of one of counting, as shares of their seconds."""
    count = bench.many(SANDBOXES)
    with ThreadPoolExecutor(8) as threads:
        made = list(threads.map(lambda _: Sandbox.create(template="debian-12"), range(count)))
    try:
        sampling = _sampling(bench, made) / INTERVAL_SECONDS
        counting = _counting(bench) / app.conf.beat_schedule["usage"]["schedule"]
        whole = _host_share(bench)
    finally:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(lambda one: one.terminate(), made))
    share = sampling + counting
    return [
        Row(
            what=f"metering with {count} sandboxes",
            measured=f"{share:.1%} (sampling {sampling:.1%}, counting {counting:.1%})",
            against="one core",
            target="< 5 %",
            met=share < 0.05,
            note=f"The sandbox host took {whole:.1%} of a core for all it did meanwhile.",
        )
    ]


def _sampling(bench: Bench, sandboxes: list[Sandbox]) -> float:
    """Seconds of processor that one look at all of them takes, on their real cgroups."""
    places, cgroups = Places.of(bench.host_folder), Cgroups()
    with tempfile.TemporaryDirectory() as folder:
        meters = []
        for sandbox in sandboxes:
            directory, name = Path(folder, sandbox.id), bench.container(sandbox.id)
            directory.mkdir()
            meters.append(Meter.begin(directory, cgroups.group(f"{places.cgroup}/{name}"), name))

        def look() -> None:
            at = int(time.time())
            for meter in meters:
                meter.look(at)

        took = _processor_seconds(look, times=bench.many(30), apart=INTERVAL_SECONDS)
        for meter in meters:
            meter.close()
    return took


def _counting(bench: Bench) -> float:
    """The same of one round of the task, the host's part and PostgreSQL's among it."""
    host = HostClient(str(bench.stack.host_socket))
    parts = [psutil.Process(bench.stack.pid(name)) for name in ("host", "postgres")]
    rounds = bench.many(30)
    before, began = sum(map(_used, parts)), time.monotonic()
    own = _processor_seconds(lambda: usage_collect(host=host), times=rounds, apart=0)
    theirs, passed = sum(map(_used, parts)) - before, time.monotonic() - began
    idle = _idle_share(parts, passed)
    return own + max(0.0, theirs - idle * passed) / rounds


def _idle_share(parts: list[psutil.Process], seconds: float) -> float:
    """What they take anyway, with nothing asked of them."""
    before = sum(map(_used, parts))
    time.sleep(max(3.0, seconds))
    return (sum(map(_used, parts)) - before) / max(3.0, seconds)


def _host_share(bench: Bench) -> float:
    return _idle_share([psutil.Process(bench.stack.pid("host"))], bench.seconds(20))


def _used(process: psutil.Process) -> float:
    """Its processor time and that of its children, in seconds."""
    times = process.cpu_times()
    children = 0.0
    for child in process.children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has ended since it was listed
            children += sum(child.cpu_times()[:2])
    return times.user + times.system + children


def _processor_seconds(call: Callable[[], None], *, times: int, apart: float) -> float:
    call()
    total = 0.0
    for _ in range(times):
        time.sleep(apart)
        began = time.thread_time()
        call()
        total += time.thread_time() - began
    return total / times


MEASUREMENTS = {"metering": metering}
