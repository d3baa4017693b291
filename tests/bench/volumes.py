"""What a volume costs a create: it is mounted in a sandbox that was started without it."""

from __future__ import annotations

import statistics
from functools import partial

from orkestr import Volume

from tests.bench.pausing import first_exec
from tests.bench.platform import Bench
from tests.bench.report import Row, milliseconds
from tests.bench.speed import TEMPLATE, pool_is_full
from tests.waiting import until


def volume(bench: Bench) -> list[Row]:
    """From a create to the first answer, with a volume in turn with without one."""
    name = "bench"
    ours, theirs = [], []
    first_exec(template=TEMPLATE, volume=name)  # makes its disk
    try:
        for _ in range(bench.many(40)):
            until(partial(pool_is_full, bench), seconds=60, what="sandboxes are ready")
            ours.append(first_exec(template=TEMPLATE, volume=name))
            until(partial(pool_is_full, bench), seconds=60, what="sandboxes are ready")
            theirs.append(first_exec(template=TEMPLATE))
    finally:
        for one in Volume.list():
            if one.name == name:
                Volume.delete(one.id)
    ratio = statistics.median(ours) / statistics.median(theirs)
    return [
        Row(
            what="create with a volume to first exec",
            measured=milliseconds(ours),
            against=f"create to first exec: {milliseconds(theirs)} (ratio {ratio:.2f})",
            target="≤ 1.5 × p50",
            met=ratio <= 1.5,
        )
    ]


MEASUREMENTS = {"volume": volume}
