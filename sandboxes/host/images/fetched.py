"""A CPython for machines that have none of the wanted series, by uv.

uv comes from a lock file of its own, by this machine's pip and its configuration, and takes the
interpreter from where its own configuration says (``UV_PYTHON_INSTALL_MIRROR`` and the like).
Both go into a scratch folder: what is wanted of them is copied into the template.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

from sandboxes.host.images.store import TemplateError
from sandboxes.host.images.workspace import run

LOCK = Path(__file__).parents[3] / "requirements" / "uv.txt"


def executable(series: str, *, scratch: Path) -> Path:
    """Its path. Raises ``TemplateError`` when uv or the interpreter cannot be had."""
    uv = _install_uv(scratch / "uv")
    folder = scratch / "interpreters"
    options = ["--install-dir", str(folder), "--no-bin", "--no-cache"]
    run(
        [str(uv), "python", "install", *options, f"cpython-{series}"],
        env={**os.environ, "LC_ALL": "C.UTF-8", "UV_PYTHON_DOWNLOADS": "manual"},
    )
    found = sorted(folder.glob(f"cpython-{series}.*/bin/python{series}"))
    if not found:
        raise TemplateError(f"uv says that it installed CPython {series}, but it is not there.")
    return found[-1]


def _install_uv(target: Path) -> Path:
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--no-deps"]
    run([*command, "--require-hashes", "--target", str(target), "--requirement", str(LOCK)])
    return target / "bin" / "uv"
