"""The second stage of `make backup` and `make restore`: root, in the virtual environment."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Final

from console.launch import backup, checks, second
from console.launch.layout import Options
from console.launch.say import Problem, line


def run_backup(options: Options, environ: Mapping[str, str]) -> int:
    """To the file or folder in ``TO``; the folder it is called in when there is none."""
    checks.root()
    file = backup.backup(options, target=Path(environ.get("TO") or ".").resolve())
    line(f"  {file}\n  It holds the secrets of this installation: keep it where only you can read.")
    return 0


def run_restore(options: Options, environ: Mapping[str, str]) -> int:
    """From the file in ``FROM``."""
    checks.root()
    source = environ.get("FROM", "")
    if not source:
        raise Problem("Which backup?", advice="make restore FROM=file.tar DATA=folder")
    os.umask(0o022)
    second.service_user()
    options.layout.data.mkdir(parents=True, exist_ok=True)
    backup.restore(options, source=Path(source).resolve())
    line("  Restored. `make up` starts it.")
    return 0


COMMANDS: Final[dict[str, Callable[[Options, Mapping[str, str]], int]]] = {
    "run-backup": run_backup,
    "run-restore": run_restore,
}
