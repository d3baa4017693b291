"""The OCI runtime behind a small interface, so that another one is another class."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from sandboxes.host.oci import Bundle, configuration
from sandboxes.host.types import HostError

START_SECONDS = 30.0
_BACKLOG = 512
_OLDEST_RUNC = (1, 1)


#: The isolation classes there are, by the name that people read.
RUNC, GVISOR = "runc", "gvisor"
ISOLATIONS = (RUNC, GVISOR)


@dataclass(frozen=True, slots=True)
class View:
    """A process in whose mount namespace a container's files are, and its root as seen there."""

    pid: int
    root: str = ""

    @property
    def namespace(self) -> Path:
        return Path(f"/proc/{self.pid}/ns/mnt")

    def path(self, inside: str) -> str:
        """Where an absolute path in the container is, as this process sees it."""
        return f"/proc/{self.pid}/root{self.root}{inside}"


class Runtime(Protocol):
    """Starts and forgets containers. Every method blocks; none is called in the event loop."""

    @property
    def isolation(self) -> str:
        """The class of isolation that it gives: runc or gvisor."""

    def trouble(self) -> str | None:
        """Why this runtime cannot be used here, as a sentence; None when it can."""

    def configuration(self, bundle: Bundle) -> dict[str, Any]:
        """``config.json`` for this bundle."""

    def meeting(
        self, agent_socket: Path, bundle: Path, *, owner: int
    ) -> AbstractContextManager[int]:
        """Make ready for the agent of a container about to be started; a descriptor for ``start``.

        ``owner`` is the machine's id behind the container's root.
        """

    def start(self, container_id: str, bundle: Path, *, listener: int) -> int:
        """Run a bundle; the id on this machine of the process whose end is the container's end."""

    def found(self, agent_socket: Path, *, owner: int) -> None:
        """As ``meeting``, for one that an earlier host has started."""

    def view(self, container_id: str, pid: int) -> View:
        """Who has the files of a running container. Raises ``OSError``."""

    def forget(self, container_id: str) -> None:
        """Drop the record of a container whose PID 1 has ended."""

    def containers(self) -> list[str]:
        """Ids of all containers it has a record of."""


class Runc:
    """runc from the distribution; its records lie in ``root``."""

    isolation = RUNC

    def __init__(self, root: Path) -> None:
        self.root = root
        self.path = shutil.which("runc", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")

    def trouble(self) -> str | None:
        if self.path is None:
            return "runc is not installed; install it with the distribution's packages."
        done = subprocess.run(
            [self.path, "--version"], capture_output=True, text=True, timeout=10, check=False
        )
        match = re.search(r"runc version (\d+)\.(\d+)", done.stdout)
        if match is None:
            return f"{self.path} does not tell its version; install runc 1.1 or newer."
        if (int(match[1]), int(match[2])) < _OLDEST_RUNC:
            return f"runc {match[1]}.{match[2]} is too old; install runc 1.1 or newer."
        return None

    def configuration(self, bundle: Bundle) -> dict[str, Any]:
        return configuration(bundle)

    @contextmanager
    def meeting(self, agent_socket: Path, bundle: Path, *, owner: int) -> Iterator[int]:
        """A listening socket, which the container alone holds afterwards."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
            listener.bind(str(agent_socket))
            listener.listen(_BACKLOG)
            yield listener.fileno()

    def found(self, agent_socket: Path, *, owner: int) -> None:
        """It listens as it did."""

    def view(self, container_id: str, pid: int) -> View:
        return View(pid)

    def start(self, container_id: str, bundle: Path, *, listener: int) -> int:
        """``listener`` becomes PID 1's descriptor 3."""
        log, pid_file = bundle / "runc.log", bundle / "runc.pid"
        command = ["runc", "--root", str(self.root), "--log", str(log), "--log-format", "json"]
        command += ["run", "--detach", "--preserve-fds", "1", "--pid-file", str(pid_file)]
        status = self._run([*command, "--bundle", str(bundle), container_id], listener)
        if status != 0:
            reason = _last_message(log)
            raise HostError("internal", f"The sandbox could not be started: {reason}")
        return int(pid_file.read_text())

    def _run(self, command: list[str], listener: int) -> int:
        """Spawned without a fork of this process, whose size would make that slow."""
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        high = os.dup(listener) if listener < 4 else listener
        try:
            actions = [(os.POSIX_SPAWN_DUP2, null, number) for number in range(3)]
            actions.append((os.POSIX_SPAWN_DUP2, high, 3))
            path = self.path or "runc"
            pid = os.posix_spawn(path, command, _environment(), file_actions=actions)
        finally:
            os.close(null)
            if high != listener:
                os.close(high)
        return _wait(pid, START_SECONDS)

    def forget(self, container_id: str) -> None:
        shutil.rmtree(self.root / container_id, ignore_errors=True)

    def containers(self) -> list[str]:
        try:
            return sorted(entry.name for entry in self.root.iterdir())
        except FileNotFoundError:
            return []


def _environment() -> dict[str, str]:
    """runc lives for milliseconds: one thread and no collector save a sixth of its time."""
    return {**os.environ, "GOMAXPROCS": "1", "GOGC": "off"}


def _wait(pid: int, seconds: float) -> int:
    """Its exit status; it is killed when it takes longer."""
    fd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        if not poll.poll(seconds * 1000):
            signal.pidfd_send_signal(fd, signal.SIGKILL)
    finally:
        os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def _last_message(log: Path) -> str:
    """The last thing runc complained about."""
    with suppress(OSError, ValueError, KeyError, IndexError):
        return str(json.loads(log.read_text().strip().splitlines()[-1])["msg"])
    return "runc did not say why."
