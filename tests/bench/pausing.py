"""How quick a sandbox stands still and goes on, beside the runtime doing the same."""

from __future__ import annotations

import statistics
import subprocess
from functools import partial

from orkestr import Sandbox

from tests.bench.platform import Bench
from tests.bench.report import Row, milliseconds
from tests.bench.speed import TEMPLATE, timed


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


MEASUREMENTS = {"pause": pause}
