"""How quick a sandbox stands still and goes on, beside the runtime doing the same."""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from orkestr import Sandbox, Snapshot

from sandboxes.host.cgroups import Cgroups
from sandboxes.host.freezer import Freezer
from sandboxes.host.places import Places
from sandboxes.models import Snapshot as SnapshotRow
from tests.bench.platform import Bench
from tests.bench.report import Row, milliseconds
from tests.bench.speed import TEMPLATE, pool_is_full, timed
from tests.waiting import until


def pause(bench: Bench) -> list[Row]:
    """Pause and resume by the official client, in turn with `runc pause` and `runc resume`.

    A pause goes on to write memory to disk when everything stands still; that is another row.
    """
    ours: dict[str, list[float]] = {"pause": [], "resume": []}
    theirs: dict[str, list[float]] = {"pause": [], "resume": []}
    with Sandbox.create(template=TEMPLATE) as sandbox:
        sandbox.exec("(while :; do sleep 1; done) >/dev/null 2>&1 &")
        runtime = ["runc", "--root", str(bench.host_folder / "runc")]
        container = bench.container(sandbox.id)
        freezer = Cgroups().group(f"{Places.of(bench.host_folder).cgroup}/{container}").freezer
        for _ in range(bench.many(60)):
            ours["pause"].append(_frozen(sandbox, freezer))
            ours["resume"].append(timed(partial(Sandbox.resume, sandbox.id)))
            for turn, seconds in theirs.items():
                command = [*runtime, turn, container]
                seconds.append(timed(partial(subprocess.run, command, check=True)))
    return [_row(turn, ours[turn], theirs[turn]) for turn in ours]


def _frozen(sandbox: Sandbox, freezer: Freezer) -> float:
    """Seconds from the call to the moment nothing runs any more; returns when it is answered."""
    began = time.perf_counter()
    with ThreadPoolExecutor(1) as caller:
        call = caller.submit(sandbox.pause)
        while not freezer.is_frozen() and not call.done():
            time.sleep(0.0002)
        seconds = time.perf_counter() - began
        call.result()
    return seconds


def memory(bench: Bench) -> list[Row]:
    """A 100 MB process to disk: a whole pause, and the runtime doing it once more by itself."""
    ours, theirs = [], []
    stage, host = Places.of(bench.host_folder).stage, str(bench.stack.pid("host"))
    path = f"PATH={stage / 'criu'}:{os.environ['PATH']}:/usr/sbin:/sbin"
    runc = ["nsenter", "--mount", "--target", host, "env", path, "runc"]
    runc += ["--root", str(bench.host_folder / "runc"), "checkpoint", "--leave-running"]
    runc += ["--tcp-established", "--file-locks", "--empty-ns", "network"]
    with Sandbox.create(template=TEMPLATE) as sandbox:
        fill = "x=$(head -c 100000000 /dev/zero | tr '\\0' x); touch full; "
        fill += "while :; do sleep 1; done"
        sandbox.exec(f"({fill}) >/dev/null 2>&1 & until [ -e full ]; do sleep 0.1; done")
        container = bench.container(sandbox.id)
        for _ in range(bench.many(10)):
            ours.append(timed(sandbox.pause))
            with tempfile.TemporaryDirectory(dir=bench.host_folder) as images:
                where = ["--image-path", images, "--work-path", images, container]
                theirs.append(timed(partial(subprocess.run, [*runc, *where], check=True)))
            Sandbox.resume(sandbox.id)
    ratio = statistics.median(ours) / statistics.median(theirs)
    return [
        Row(
            what="pause of a 100 MB process, to disk, answered",
            measured=milliseconds(ours),
            against=f"`runc checkpoint`: {milliseconds(theirs)} (ratio {ratio:.2f})",
            target="≤ 1.3 × p50",
            met=ratio <= 1.3,
        )
    ]


def _row(turn: str, ours: list[float], theirs: list[float]) -> Row:
    ratio = statistics.median(ours) / statistics.median(theirs)
    return Row(
        what=f"{turn} by the official client, frozen",
        measured=milliseconds(ours),
        against=f"`runc {turn}`: {milliseconds(theirs)} (ratio {ratio:.2f})",
        target="≤ 3 × p50",
        met=ratio <= 3.0,
    )


def fork(bench: Bench) -> list[Row]:
    """From a create to the first answer: from snapshots without and with a process, in turn with
    from the template."""
    ran = {"nothing running": False, "a shell running": True}
    forks: dict[str, list[float]] = {what: [] for what in ran}
    creates: list[float] = []
    snapshots = {what: _snapshot(runs=runs) for what, runs in ran.items()}
    try:
        for _ in range(bench.many(40)):
            for what, snapshot in snapshots.items():
                until(partial(pool_is_full, bench), seconds=60, what="sandboxes are ready")
                forks[what].append(first_exec(snapshot=snapshot.id))
            until(partial(pool_is_full, bench), seconds=60, what="sandboxes are ready")
            creates.append(first_exec(template=TEMPLATE))
    finally:
        for snapshot in snapshots.values():
            Snapshot.delete(snapshot.id)
    return [
        _fork_row("nothing running", forks["nothing running"], creates, most=4.0),
        _fork_row("a shell running", forks["a shell running"], creates),
    ]


def _snapshot(*, runs: bool) -> Snapshot:
    """Of a sandbox with 20 MB of own files, in which a shell ``runs`` or nothing does."""
    with Sandbox.create(template=TEMPLATE) as sandbox:
        sandbox.exec("head -c 20000000 /dev/urandom > data")
        if runs:
            sandbox.exec("(while :; do sleep 1; done) >/dev/null 2>&1 &")
        snapshot = sandbox.snapshot()
    assert SnapshotRow.objects.get(id=snapshot.id).includes_memory is runs
    return snapshot


def _fork_row(
    what: str, forks: list[float], creates: list[float], *, most: float | None = None
) -> Row:
    """``most`` is how often a create may fit into it; without, there is a limit of time."""
    p50 = statistics.median(forks)
    ratio = p50 / statistics.median(creates)
    return Row(
        what=f"fork to first exec, 20 MB of own files, {what}",
        measured=milliseconds(forks),
        against=f"create to first exec: {milliseconds(creates)} (ratio {ratio:.2f})",
        target=f"≤ {most:g} × p50" if most else "p50 ≤ 500 ms",
        met=ratio <= most if most else p50 <= 0.500,
        note="create and fork take a sandbox that was started ahead of time"
        if most
        else "a fork with memory starts its own sandbox and reads its processes from disk",
    )


def first_exec(**of: str) -> float:
    """Seconds from a create with ``of`` to the answer of its first command."""
    began = time.perf_counter()
    sandbox = Sandbox.create(**of)
    sandbox.exec("true")
    seconds = time.perf_counter() - began
    sandbox.terminate()
    return seconds


MEASUREMENTS = {"pause": pause, "memory": memory, "fork": fork}
