"""What a recipe works in: a layer that grows, the layers below it, and a clock for each step."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from sandboxes.host import mounts
from sandboxes.host.images.store import TemplateError

#: The certificates every sandbox trusts: this machine's own.
CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
STEP_SECONDS = 900
_TAIL_LINES = 6
_CHROOT_ENV = {
    "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "HOME": "/root",
    "LANG": "C.UTF-8",
}


@dataclass(frozen=True, slots=True)
class Workspace:
    """``layer`` becomes the template's own layer; ``below`` are its parents', topmost first."""

    name: str
    layer: Path
    scratch: Path
    below: Sequence[Path]

    @contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Print what is done and how long it took."""
        started = time.monotonic()
        yield
        say(f"{self.name}: {what} ({time.monotonic() - started:.1f} s)")

    def chroot(self, *command: str) -> str:
        """Run a command in the template as it stands; what it changes lands in the layer."""
        with self._merged() as root:
            return run(["chroot", str(root), *command], env=_CHROOT_ENV)

    @contextmanager
    def _merged(self) -> Iterator[Path]:
        root, work = self.scratch / "merged", self.scratch / "work"
        root.mkdir(exist_ok=True)
        work.mkdir(exist_ok=True)
        lower = ":".join(str(path) for path in self.below)
        mounts.mount(
            "overlay",
            root,
            "overlay",
            data=f"lowerdir={lower},upperdir={self.layer},workdir={work}",
        )
        try:
            yield root
        finally:
            mounts.detach(root)


def run(command: Sequence[str], *, env: Mapping[str, str] | None = None) -> str:
    """Its output. Raises ``TemplateError`` with the last lines of a command that fails."""
    try:
        done = subprocess.run(
            command,
            env=dict(env) if env is not None else {**os.environ, "LC_ALL": "C.UTF-8"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=STEP_SECONDS,
            check=False,
        )
    except FileNotFoundError as error:
        raise TemplateError(f"{command[0]} is not on this machine; install it.") from error
    except subprocess.TimeoutExpired as error:
        raise TemplateError(f"{command[0]} did not end within {STEP_SECONDS} s.") from error
    if done.returncode:
        tail = " | ".join(done.stdout.strip().splitlines()[-_TAIL_LINES:])
        raise TemplateError(f"{command[0]} failed with status {done.returncode}: {tail}")
    return done.stdout


def say(line: str) -> None:
    """A progress line."""
    os.write(1, f"{line}\n".encode())
