"""Programs that only the log of the launch hears of."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path


def run(
    command: Sequence[str],
    *,
    log: Path,
    appends: bool = False,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
) -> int:
    """Its exit status; what it prints goes to ``log``, whose folder is made."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("a" if appends else "w") as output:
        return subprocess.run(
            command,
            cwd=cwd,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            check=False,
        ).returncode
