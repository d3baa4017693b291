"""How quick commands and creates are, beside the runtime doing the same."""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Barrier

import psutil
from orkestr import Sandbox

from sandboxes.host import mounts
from sandboxes.host.agent.build import build
from sandboxes.host.cgroups import Cgroups
from sandboxes.host.images.store import Store
from sandboxes.host.places import Places, Shape
from sandboxes.host.runtime import Runc
from sandboxes.host.slots import SlotMaker
from tests.bench.platform import READY_SANDBOXES, Bench
from tests.bench.report import Row, milliseconds
from tests.waiting import until

TEMPLATE = "debian-12"
#: How long making fifty bundles may take.
_CROWD_SECONDS = 120.0


def timed(action: Callable[[], object]) -> float:
    """Seconds that one call takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def exec_true(bench: Bench) -> list[Row]:
    """`exec("true")` over HTTP, in turn with `runc exec … true` in the same sandbox."""
    with Sandbox.create(template=TEMPLATE) as sandbox:
        runtime = ["runc", "--root", str(bench.host_folder / "runc")]
        process = bench.host_folder / "bench-process.json"
        process.write_text(json.dumps(_PROCESS))
        container = bench.container(sandbox.id)
        # runc insists on the folder it started from, which the host has taken away by now.
        gone = Places.of(bench.host_folder).stage / container / "rootfs"
        gone.mkdir(parents=True)
        command = [*runtime, "exec", "--process", str(process), container]
        ours, theirs = [], []
        for _ in range(bench.many(200)):
            ours.append(timed(partial(sandbox.exec, "true")))
            theirs.append(timed(partial(subprocess.run, command, check=True)))
    ratio = statistics.median(ours) / statistics.median(theirs)
    return [
        Row(
            what='`exec("true")` by the official client over HTTP',
            measured=milliseconds(ours),
            against=f"`runc exec`: {milliseconds(theirs)} (ratio {ratio:.2f})",
            target="≤ 1.0 × p50",
            met=ratio <= 1.0,
        )
    ]


#: What `runc exec` is told to run: as confined as what the agent starts.
_PROCESS = {
    "terminal": False,
    "user": {"uid": 0, "gid": 0},
    "args": ["/bin/true"],
    "env": ["PATH=/usr/bin:/bin"],
    "cwd": "/workspace",
    "capabilities": {},
    "noNewPrivileges": True,
}


class TimedRunc(Runc):
    """Notes how long each `runc run` takes; everything around it is not counted."""

    def __init__(self, root: Path) -> None:
        super().__init__(root)
        self.seconds: list[float] = []

    def start(self, container_id: str, bundle: Path, *, listener: int) -> int:
        began = time.perf_counter()
        pid = super().start(container_id, bundle, listener=listener)
        self.seconds.append(time.perf_counter() - began)
        return pid


class CrowdedRunc(TimedRunc):
    """Starts ``many`` at the same moment, once all their bundles are there, and runs `true` in each
    by `runc exec`; notes how long each took from that moment on."""

    def __init__(self, root: Path, many: int) -> None:
        super().__init__(root)
        self._ready = Barrier(many)
        self._process = root.with_name("process.json")
        self._process.write_text(json.dumps(_PROCESS))

    def start(self, container_id: str, bundle: Path, *, listener: int) -> int:
        self._ready.wait(_CROWD_SECONDS)
        began = time.perf_counter()
        pid = Runc.start(self, container_id, bundle, listener=listener)
        command = ["runc", "--root", str(self.root), "exec", "--process", str(self._process)]
        subprocess.run([*command, container_id], check=True)
        self.seconds.append(time.perf_counter() - began)
        return pid


class Bundles:
    """Bundles as the host makes them, run by `runc run` and nothing else, in a folder apart.

    With ``many`` so many are started at once.
    """

    def __init__(self, bench: Bench, *, many: int = 1) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="orkestr-bench-"))
        self._store = Store(bench.stack.layout.templates)
        self._many = many
        root = self._folder / "runc"
        self.runtime = TimedRunc(root) if many == 1 else CrowdedRunc(root, many)
        places = Places.of(self._folder)
        places.prepare(build(self._folder / "agent"))
        self._maker = SlotMaker(places, self.runtime, cgroups=Cgroups())

    def run_once(self) -> None:
        """One `runc run`; what it started is ended at once."""
        layers = tuple(str(path) for path in self._store.paths(self._store.load(TEMPLATE)))
        slot = self._maker.make(Shape(layers, cpu=1.0, memory_mb=1024, disk_mb=2048, pids=256))
        self._maker.kill(slot)
        self._maker.unmake(slot)

    def run_at_once(self) -> list[float]:
        """Seconds that each of ``many`` took to `runc run` and `runc exec`, side by side."""
        with ThreadPoolExecutor(self._many) as threads:
            for done in [threads.submit(self.run_once) for _ in range(self._many)]:
                done.result()
        return self.runtime.seconds

    def close(self) -> None:
        mounts.detach(self._maker.places.stage)
        self._maker.places.stage.rmdir()
        shutil.rmtree(self._folder)


def pool_is_full(bench: Bench) -> bool:
    """Whether the host has as many sandboxes ready as it keeps, and is making no more."""
    live = sum(len(Sandbox.list(status=status)) for status in ("running", "paused"))
    return len(list((bench.host_folder / "slots").iterdir())) >= live + int(READY_SANDBOXES)


def create(bench: Bench) -> list[Row]:
    """Create until running, one after another and 50 at once, beside `runc run`."""
    Sandbox.create(template=TEMPLATE).terminate()
    until(partial(pool_is_full, bench), seconds=60, what="sandboxes are ready")
    creates, firsts, bundles = [], [], Bundles(bench)
    try:
        for _ in range(bench.many(60)):
            began = time.perf_counter()
            sandbox = Sandbox.create(template=TEMPLATE)
            creates.append(time.perf_counter() - began)
            sandbox.exec("true")
            firsts.append(time.perf_counter() - began)
            sandbox.terminate()
            bundles.run_once()
    finally:
        bundles.close()
    ratio = statistics.median(creates) / statistics.median(bundles.runtime.seconds)
    at_once, crowd = _at_once(bench, 50), _crowd(bench, 50)
    crowded = statistics.median(at_once) / statistics.median(crowd)
    fanned = _at_once(bench, 32)
    slowest = statistics.quantiles(fanned, n=20)[-1]
    return [
        Row(
            what="create to running by the official client",
            measured=milliseconds(creates),
            against=f"`runc run`: {milliseconds(bundles.runtime.seconds)} (ratio {ratio:.2f})",
            target="≤ 3 × p50",
            met=ratio <= 3.0,
            note=f"the host keeps {READY_SANDBOXES} sandboxes of a size started ahead of time",
        ),
        Row(
            what="create and first exec, one after another",
            measured=milliseconds(firsts),
            against="-",
            target="p50 ≤ 60 ms",
            met=statistics.median(firsts) <= 0.060,
        ),
        Row(
            what="create and first exec, 50 at once",
            measured=milliseconds(at_once),
            against=f"50 × `runc run` and `runc exec` at once: {milliseconds(crowd)} "
            f"(ratio {crowded:.2f})",
            target="p50 ≤ 400 ms, or ≤ 0.5 × on a slower machine",
            met=statistics.median(at_once) <= 0.400 or crowded <= 0.5,
            note=f"{READY_SANDBOXES} of that size were ready; the clients are threads of one "
            "process, on the same processors",
        ),
        Row(
            what="create and first exec, 32 at once (a fan-out)",
            measured=f"{milliseconds(fanned)}, p95 {slowest * 1000:.1f} ms",
            against="-",
            target="p95 ≤ 500 ms",
            met=slowest <= 0.500,
        ),
    ]


def _crowd(bench: Bench, count: int) -> list[float]:
    """The same by the runtime alone, of bundles that are there already."""
    until(partial(pool_is_full, bench), seconds=60, what="sandboxes are ready")
    bundles = Bundles(bench, many=count)
    try:
        return bundles.run_at_once()
    finally:
        bundles.close()


def _at_once(bench: Bench, count: int) -> list[float]:
    until(partial(pool_is_full, bench), seconds=60, what="sandboxes are ready")

    def one(_: int) -> tuple[float, Sandbox]:
        began = time.perf_counter()
        sandbox = Sandbox.create(template=TEMPLATE)
        sandbox.exec("true")
        return time.perf_counter() - began, sandbox

    with ThreadPoolExecutor(count) as threads:
        done = list(threads.map(one, range(count)))
    for _, sandbox in done:
        sandbox.terminate()
    return [seconds for seconds, _ in done]


def idle(bench: Bench) -> list[Row]:
    """What 100 sandboxes that do nothing cost: host daemon, kernel and agents together."""
    until(partial(pool_is_full, bench), seconds=60, what="sandboxes are ready")
    count = 100
    before = psutil.virtual_memory().available
    began = time.perf_counter()
    with ThreadPoolExecutor(16) as threads:
        made = list(threads.map(lambda _: Sandbox.create(template=TEMPLATE), range(count)))
    seconds = time.perf_counter() - began
    until(partial(pool_is_full, bench), seconds=60, what="sandboxes are ready again")
    each = (before - psutil.virtual_memory().available) / count
    for sandbox in made:
        sandbox.terminate()
    return [
        Row(
            what="100 idle sandboxes",
            measured=f"{each / 2**20:.2f} MB each, started in {seconds:.1f} s",
            against="-",
            target="< 3 MB each beside the template, < 10 s",
            met=each < 3 * 2**20 and seconds < 10,
            note="all of the machine's memory that went, kernel included, over 100",
        )
    ]


MEASUREMENTS = {"exec": exec_true, "create": create, "idle": idle}

assert os.geteuid() == 0, "The benchmark drives the runtime itself: run it as root."
