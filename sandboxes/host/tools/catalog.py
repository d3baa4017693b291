"""The tools there are, and where the templates folder has them."""

from __future__ import annotations

import subprocess
from pathlib import Path

from sandboxes.host.tools.later import Tool

_TRY_SECONDS = 30


def folder_of(templates: Path) -> Path:
    """The folder of tools of a templates folder."""
    return templates / "tools"


def runsc_program(folder: Path) -> Path:
    return folder / "usr" / "bin" / "runsc"


def _runsc_trouble(folder: Path) -> str | None:
    """A static program: it runs anywhere its kernel will have it."""
    return try_out([str(runsc_program(folder)), "--version"])


def try_out(command: list[str]) -> str | None:
    """What a program says instead of ending with success."""
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_TRY_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"{Path(command[0]).name} does not run here: {error}."
    if done.returncode:
        said = " | ".join(done.stdout.strip().splitlines()[-3:])
        return f"{Path(command[0]).name} does not work here: {said or done.returncode}."
    return None


def criu_command(folder: Path) -> list[str]:
    """How CRIU is started: its libraries may be newer than the machine's, the loader included."""
    loader = next(folder.glob("usr/lib/*-linux-gnu*/ld-linux*.so.*"), folder / "missing")
    program = folder / "usr" / "sbin" / "criu"
    return [str(loader), "--library-path", str(loader.parent), str(program)]


def criu_trouble(folder: Path) -> str | None:
    """What its own look at the running kernel says."""
    return try_out([*criu_command(folder), "check"])


#: gVisor. The first release of 2024 is the first with systrap as the usual platform that was tried.
RUNSC = Tool("runsc", oldest="0.0~20240101", trouble=_runsc_trouble)

#: Writes the memory of runc's sandboxes to disk. 3.17 fails on kernels of 2025.
CRIU = Tool("criu", oldest="4.2", trouble=criu_trouble, with_libraries=True)

TOOLS = (RUNSC, CRIU)
