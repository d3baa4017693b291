"""`python -m tests.bench [--quick] [name…]`: measure, print a table, put it into docs/bench.md.

A run of some measurements replaces their rows there; a quick one writes nothing.
"""

from __future__ import annotations

import argparse
import logging
import os
import sys
import time
import traceback
from pathlib import Path

import django


def main() -> int:
    """Run the chosen measurements in order. One that breaks leaves its rows of before."""
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "console.settings")
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    django.setup()
    logging.getLogger("httpx").setLevel(logging.WARNING)
    from tests.bench import (
        code,
        events,
        fleet,
        isolation,
        mcp,
        memory,
        metering,
        packages,
        pausing,
        report,
        restoring,
        speed,
        terminals,
        timelines,
        tokens,
        transfers,
        usage,
        volumes,
    )
    from tests.bench.platform import platform

    parts = (
        *(
            speed,
            code,
            mcp,
            isolation,
            packages,
            pausing,
            restoring,
            volumes,
            events,
            memory,
            transfers,
            metering,
        ),
        *(terminals, timelines, fleet, usage, tokens),
    )
    measurements = {name: run for part in parts for name, run in part.MEASUREMENTS.items()}
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="name", help=", ".join(measurements))
    parser.add_argument("--quick", action="store_true", help="a tenth of the samples and seconds")
    options = parser.parse_args()
    unknown = set(options.names) - set(measurements)
    if unknown:
        parser.error(f"there is no {', '.join(sorted(unknown))}")
    run = report.Run.now()
    measured: dict[str, report.Measured] = {}
    broken: list[str] = []
    with platform(quick=options.quick) as bench:
        for name in options.names or measurements:
            began = time.monotonic()
            try:
                measured[name] = report.Measured(run, measurements[name](bench))
            except Exception:  # the others took minutes and are worth having
                traceback.print_exc()
                broken.append(name)
            print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print(report.table([row for one in measured.values() for row in one.rows]))
    if not options.quick:
        report.write(Path("docs"), measured, names=measurements)
    if broken:
        print(f"Did not run to their end: {', '.join(broken)}", file=sys.stderr)
    return 1 if broken else 0


if __name__ == "__main__":
    raise SystemExit(main())
