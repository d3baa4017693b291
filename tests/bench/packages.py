"""Packages through the egress proxy, beside the same pip on the machine itself."""

from __future__ import annotations

import asyncio
import os
import statistics
import subprocess
import sys
import tempfile
from functools import partial

from orkestr import Sandbox

from sandboxes.host.egress.registries import registries
from tests.bench.platform import Bench
from tests.bench.report import Row, milliseconds
from tests.bench.speed import timed

#: Nothing is taken from a cache, and each time it goes to a folder that is not there yet.
INSTALL = "install --quiet --no-cache-dir --disable-pip-version-check --target"
SECONDS = 120


def pip_install(bench: Bench) -> list[Row]:
    """`pip install requests` in a restricted sandbox, in turn with the same on the machine."""
    environment = _as_in_a_sandbox()
    ours, theirs = [], []
    with (
        Sandbox.create(template="python-3.12-bare", size="medium", network="restricted") as sandbox,
        tempfile.TemporaryDirectory(prefix="orkestr-bench-") as folder,
    ):
        for number in range(bench.many(10) + 1):
            ours.append(timed(partial(_inside, sandbox, f"/workspace/{number}")))
            theirs.append(timed(partial(_outside, f"{folder}/{number}", environment)))
    ours, theirs = ours[1:], theirs[1:]  # the first of each fills what the disk remembers
    ratio = statistics.median(ours) / statistics.median(theirs)
    return [
        Row(
            what="`pip install requests` through the proxy",
            measured=milliseconds(ours),
            against=f"the same on the host: {milliseconds(theirs)} (ratio {ratio:.2f})",
            target="≤ 1.5 ×",
            met=ratio <= 1.5,
            note="both fetch from the machine's own registry, without a cache; "
            "inside it is the template's CPython 3.12",
        )
    ]


def _inside(sandbox: Sandbox, target: str) -> None:
    done = sandbox.exec(f"pip {INSTALL} {target} requests", timeout_seconds=SECONDS)
    assert done.exit_code == 0, done.stderr


def _outside(target: str, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pip", *INSTALL.split(), target, "requests"]
    subprocess.run(command, check=True, timeout=SECONDS, env=environment)


def _as_in_a_sandbox() -> dict[str, str]:
    """The registry a sandbox is pointed at, and no folders of this machine."""
    kept = {
        name: os.environ[name] for name in ("PATH", "HOME", "SSL_CERT_FILE") if name in os.environ
    }
    told = asyncio.run(registries()).environment
    return {**kept, **told, "PIP_CONFIG_FILE": os.devnull}


MEASUREMENTS = {"packages": pip_install}
