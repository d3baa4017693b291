"""How quick processes come back from disk: after the machine's restart, and in a fork."""

from __future__ import annotations

import statistics
from functools import partial

from orkestr import Sandbox, Snapshot

from tests.bench.pausing import first_exec
from tests.bench.platform import Bench
from tests.bench.report import Row, milliseconds
from tests.bench.speed import TEMPLATE, pool_is_full, timed
from tests.machine import lose
from tests.waiting import until

#: A shell that holds 100 MB, and shows by a file that it runs.
_FULL = (
    "(x=$(head -c 100000000 /dev/zero | tr '\\0' x); touch full; "
    "while :; do sleep 0.01; touch runs; done) >/dev/null 2>&1 & "
    "until [ -e full ]; do sleep 0.1; done"
)


def full_sandbox() -> Sandbox:
    """One in which a process of 100 MB runs."""
    sandbox = Sandbox.create(template=TEMPLATE)
    sandbox.exec(_FULL)
    return sandbox


def restore(bench: Bench) -> list[Row]:
    """Resume sandboxes of 100 MB after the machine's restart, and the same ones frozen before it.

    What came from disk is not written there again, so each of them is restored once.
    """
    sandboxes = [full_sandbox() for _ in range(bench.many(10))]
    frozen, restored = [], []
    for sandbox in sandboxes:
        sandbox.pause()
        frozen.append(timed(partial(Sandbox.resume, sandbox.id)))
        sandbox.pause()
    lose(bench.stack, [sandbox.id for sandbox in sandboxes])
    until(partial(pool_is_full, bench), seconds=60, what="sandboxes are ready")
    for sandbox in sandboxes:
        restored.append(timed(partial(Sandbox.resume, sandbox.id)))
        _check_runs(sandbox)
        sandbox.terminate()
    ratio = statistics.median(restored) / statistics.median(frozen)
    return [
        Row(
            what="resume of a 100 MB process from disk, after the machine's restart",
            measured=milliseconds(restored),
            against=f"resume of the same, frozen: {milliseconds(frozen)} (ratio {ratio:.2f})",
            target="p50 ≤ 500 ms",
            met=statistics.median(restored) <= 0.500,
        )
    ]


def fork_memory(bench: Bench) -> list[Row]:
    """From a fork of a snapshot with a running process of 100 MB to its first answer."""
    forks, creates = [], []
    with full_sandbox() as sandbox:
        snapshot = sandbox.snapshot()
    try:
        for _ in range(bench.many(20)):
            until(partial(pool_is_full, bench), seconds=60, what="sandboxes are ready")
            forks.append(first_exec(snapshot=snapshot.id))
            until(partial(pool_is_full, bench), seconds=60, what="sandboxes are ready")
            creates.append(first_exec(template=TEMPLATE))
        with Sandbox.create(snapshot=snapshot.id) as fork:
            _check_runs(fork)
    finally:
        Snapshot.delete(snapshot.id)
    ratio = statistics.median(forks) / statistics.median(creates)
    return [
        Row(
            what="fork with the memory of a 100 MB process to first exec",
            measured=milliseconds(forks),
            against=f"create to first exec: {milliseconds(creates)} (ratio {ratio:.2f})",
            target="p50 ≤ 500 ms",
            met=statistics.median(forks) <= 0.500,
            note="a create takes a sandbox that was started ahead of time, "
            "a fork reads its processes from disk",
        )
    ]


def _check_runs(sandbox: Sandbox) -> None:
    """What was restored goes on."""
    found = sandbox.exec("rm -f runs; until [ -e runs ]; do sleep 0.01; done", timeout_seconds=20)
    assert found.exit_code == 0


MEASUREMENTS = {"restore": restore, "fork-memory": fork_memory}
