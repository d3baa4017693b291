"""The virtual environment, from the lock file, and again only when the lock file changed."""

from __future__ import annotations

import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

from console.launch import logged
from console.launch.layout import Layout
from console.launch.say import Problem, step, tail

_STAMP = "orkestr-lock"


def make(layout: Layout, *, lock: str, log: Path) -> None:
    """``lock`` is a file of requirements/. Hashes are required, so nothing unknown gets in."""
    folder = layout.root / ".venv"
    wanted = _wanted(layout, lock)
    stamp = folder / _STAMP
    if _is_current(layout, stamp=stamp, wanted=wanted):
        return
    with step("Python packages", slow="the first time takes a minute"):
        stamp.unlink(missing_ok=True)
        if not _same_python(folder):
            shutil.rmtree(folder, ignore_errors=True)
            venv.create(folder, with_pip=True, symlinks=True)
        _pip_install(layout, lock=lock, log=log)
        stamp.write_text(wanted)


def _wanted(layout: Layout, lock: str) -> str:
    text = (layout.root / "requirements" / lock).read_bytes()
    return f"{lock} {hashlib.sha256(text).hexdigest()}\n"


def _is_current(layout: Layout, *, stamp: Path, wanted: str) -> bool:
    """An environment for development holds all that one for running does."""
    folder = layout.root / ".venv"
    if not _same_python(folder) or not stamp.is_file():
        return False
    found = stamp.read_text()
    return found == wanted or (found.startswith("dev.txt ") and found == _wanted(layout, "dev.txt"))


def _same_python(folder: Path) -> bool:
    """Whether it is there, works, and is of this Python's version."""
    code = "import sys; print(sys.version_info[:2])"
    try:
        answer = subprocess.run(
            [str(folder / "bin" / "python"), "-I", "-c", code],
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError:
        return False
    return answer.stdout.strip() == str(sys.version_info[:2])


def _pip_install(layout: Layout, *, lock: str, log: Path) -> None:
    command = [str(layout.venv_python), "-m", "pip", "install", "--disable-pip-version-check"]
    command += ["--no-input", "--require-hashes", "-r", str(layout.root / "requirements" / lock)]
    if logged.run(command, log=log) != 0:
        raise Problem(
            f"The Python packages could not be installed:\n{tail(log, lines=6)}",
            advice="Check the network, the proxy variables and pip's configuration (pip config "
            "list), then run it again. Nothing was started.",
        )
