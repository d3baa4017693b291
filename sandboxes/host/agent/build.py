"""Compiles the agent into one static binary: ``python -m sandboxes.host.agent.build OUT``."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

SOURCE = Path(__file__).parent
COMMON = ("-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra")
STATIC = ("-static", "-s", "-O2", "-fstack-protector-strong")
FORTIFIED = ("-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=2")
CHECKED = ("-Werror", "-g", "-O1", "-fno-omit-frame-pointer", "-fsanitize=address,undefined")


class BuildError(Exception):
    """The agent could not be compiled; the message says what to install or what gcc said."""


def compiler(*, checked: bool = False) -> str:
    """musl makes the smaller binary (75 KB, a tenth of the memory); glibc's gcc does as well."""
    names = ("gcc",) if checked else ("musl-gcc", "gcc")
    for name in names:
        if found := shutil.which(name):
            return found
    raise BuildError("No C compiler: install musl-tools (or gcc with its static C library).")


def build(out: Path, *, checked: bool = False) -> Path:
    """Compiles to ``out`` unless it is already there from the same source, flags and compiler.

    ``checked`` builds with the address and undefined-behaviour sanitizers, for tests, and takes no
    warning (one that a later compiler invents must not keep the product from starting). Two builds
    at once are harmless: each renames a whole file into place. Raises ``BuildError``.
    """
    tool = compiler(checked=checked)
    arguments = [tool, *COMMON, *(CHECKED if checked else (*STATIC, *FORTIFIED))]
    stamp = out.with_name(out.name + ".sha256")
    digest = _digest(arguments)
    if out.exists() and stamp.exists() and stamp.read_text() == digest:
        return out
    out.parent.mkdir(parents=True, exist_ok=True)
    fresh = out.with_name(f"{out.name}.{os.getpid()}")
    _compile([*arguments, "-o", str(fresh), *map(str, sorted(SOURCE.glob("*.c")))])
    fresh.replace(out)
    stamp.write_text(digest)
    return out


def _digest(arguments: list[str]) -> str:
    whole = hashlib.sha256("\0".join(arguments).encode())
    for path in sorted(SOURCE.glob("*.[ch]")):
        whole.update(path.name.encode() + b"\0" + path.read_bytes())
    return whole.hexdigest()


def _compile(command: list[str]) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    if done.returncode:
        raise BuildError(f"The agent does not compile with {command[0]}: {done.stderr.strip()}")


if __name__ == "__main__":
    sys.stdout.write(f"{build(Path(sys.argv[1]))}\n")
