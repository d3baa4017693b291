"""How quick a sandbox stands still and goes on, beside the runtime doing the same."""

from __future__ import annotations

import statistics
import subprocess
import time
from functools import partial

from orkestr import Sandbox, Snapshot

from tests.bench.platform import Bench
from tests.bench.report import Row, milliseconds
from tests.bench.speed import TEMPLATE, pool_is_full, timed
from tests.waiting import until


def pause(bench: Bench) -> list[Row]:
    """Pause and resume by the official client, in turn with `runc pause` and `runc resume`."""
    ours: dict[str, list[float]] = {"pause": [], "resume": []}
    theirs: dict[str, list[float]] = {"pause": [], "resume": []}
    with Sandbox.create(template=TEMPLATE) as sandbox:
        sandbox.exec("(while :; do sleep 1; done) >/dev/null 2>&1 &")
        runtime = ["runc", "--root", str(bench.host_folder / "runc")]
        container = bench.container(sandbox.id)
        for _ in range(bench.many(60)):
            ours["pause"].append(timed(sandbox.pause))
            ours["resume"].append(timed(partial(Sandbox.resume, sandbox.id)))
            for turn, seconds in theirs.items():
                command = [*runtime, turn, container]
                seconds.append(timed(partial(subprocess.run, command, check=True)))
    return [_row(turn, ours[turn], theirs[turn]) for turn in ours]


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
    """From a create to the first answer, from a snapshot in turn with from the template."""
    forks, creates = [], []
    with Sandbox.create(template=TEMPLATE) as sandbox:
        sandbox.exec("head -c 20000000 /dev/urandom > data")
        snapshot = sandbox.snapshot()
    try:
        for _ in range(bench.many(40)):
            until(partial(pool_is_full, bench), seconds=60, what="sandboxes are ready")
            forks.append(first_exec(snapshot=snapshot.id))
            until(partial(pool_is_full, bench), seconds=60, what="sandboxes are ready")
            creates.append(first_exec(template=TEMPLATE))
    finally:
        Snapshot.delete(snapshot.id)
    ratio = statistics.median(forks) / statistics.median(creates)
    return [
        Row(
            what="fork to first exec, 20 MB of own files",
            measured=milliseconds(forks),
            against=f"create to first exec: {milliseconds(creates)} (ratio {ratio:.2f})",
            target="≤ 4 × p50",
            met=ratio <= 4.0,
            note="a create takes a sandbox that was started ahead of time, a fork starts its own",
        )
    ]


def first_exec(**of: str) -> float:
    """Seconds from a create with ``of`` to the answer of its first command."""
    began = time.perf_counter()
    sandbox = Sandbox.create(**of)
    sandbox.exec("true")
    seconds = time.perf_counter() - began
    sandbox.terminate()
    return seconds


MEASUREMENTS = {"pause": pause, "fork": fork}
