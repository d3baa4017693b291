"""Packages of Node that tests and the front end need, and again only when their lock changed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from console.launch import logged
from console.launch.layout import Layout
from console.launch.say import Problem, step, tail

_STAMP = "orkestr-lock"


def install(layout: Layout, *, log: Path) -> None:
    """`npm ci`, from where this machine's npm is configured to look."""
    stamp = layout.root / "node_modules" / _STAMP
    wanted = hashlib.sha256((layout.root / "package-lock.json").read_bytes()).hexdigest()
    if stamp.is_file() and stamp.read_text() == wanted:
        return
    with step("Node packages", slow="the first time takes a minute"):
        _npm_ci(layout, log=log)
        stamp.parent.mkdir(exist_ok=True)
        stamp.write_text(wanted)


def _npm_ci(layout: Layout, *, log: Path) -> None:
    # No package's own scripts are needed, and none are run.
    command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    if logged.run(command, log=log, cwd=layout.root) != 0:
        raise Problem(
            f"The Node packages could not be installed:\n{tail(log, lines=6)}",
            advice="Check the network and npm's settings (npm config list), then run it again.",
        )
