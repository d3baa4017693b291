"""A cell of code beside a command: the same client, the same sandbox, in turn."""

from __future__ import annotations

import statistics
from functools import partial

from orkestr import Sandbox

from tests.bench.platform import Bench
from tests.bench.report import Row, milliseconds
from tests.bench.speed import timed


def run_code(bench: Bench) -> list[Row]:
    """`run_code("1")` in a warm context, in turn with `exec("true")`; then first cells."""
    cells, commands, firsts = [], [], []
    with Sandbox.create(template="code-interpreter") as sandbox:
        sandbox.run_code("1")
        for _ in range(bench.many(200)):
            cells.append(timed(partial(sandbox.run_code, "1")))
            commands.append(timed(partial(sandbox.exec, "true")))
        for _ in range(bench.many(20)):
            context = sandbox.code_contexts()[0]
            context.remove()
            firsts.append(timed(partial(sandbox.run_code, "1")))
    ratio = statistics.median(cells) / statistics.median(commands)
    return [
        Row(
            what='`run_code("1")` by the official client, warm',
            measured=milliseconds(cells),
            against=f'`exec("true")`: {milliseconds(commands)} (ratio {ratio:.2f})',
            target="≤ 1.5 × p50",
            met=ratio <= 1.5,
        ),
        Row(
            what='`run_code("1")`, first of its context',
            measured=milliseconds(firsts),
            against="-",
            target="p50 ≤ 1500 ms",
            met=statistics.median(firsts) <= 1.5,
            note="the kernel is started for it",
        ),
    ]


MEASUREMENTS = {"code": run_code}
