"""The OCI runtime behind a small interface, so that another one is another class."""

from __future__ import annotations

import json
import os
import re
import select
import shutil
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from sandboxes.host import door
from sandboxes.host.criu import Criu, complaint
from sandboxes.host.oci import Bundle, configuration
from sandboxes.host.types import HostError

START_SECONDS = 30.0
#: Less than a caller waits for a pause.
MEMORY_SECONDS = 45.0
Ready = Callable[[int], None]
_KEPT = ("--tcp-established", "--file-locks", "--empty-ns", "network")
_OLDEST_RUNC = (1, 1)
_ANNOTATION = "org.criu.config"


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


@dataclass(frozen=True, slots=True)
class Restore:
    """What a container is restored from. ``base`` is the machine's id behind its 0.

    ``ready`` is called with PID 1's id when everything is there and, with runc, nothing runs yet;
    it runs only if that returns.
    """

    folder: Path
    agent_socket: Path
    base: int
    ready: Ready


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

    def annotations(self, *, restored: bool) -> Mapping[str, str]:
        """What it wants in a container's configuration."""

    def memory_trouble(self) -> str | None:
        """Why it cannot write memory to disk here, as a sentence; None when it can."""

    def hold(self, container_id: str) -> None:
        """Have it stand still, where that takes more than the freezer. Raises ``HostError``."""

    def let_go(self, container_id: str) -> None:
        """Have them go on; nothing happens to those that were not held."""

    @property
    def works_frozen(self) -> bool:
        """Whether ``checkpoint`` needs nothing of the container to run, but for ``hold``."""

    def reunite(self, agent_socket: Path, pid: int) -> bool:
        """Reach an agent again that has hung up; False when it never did. Raises ``HostError``."""

    def checkpoint(self, container_id: str, folder: Path, *, lock: int) -> None:
        """Write processes and memory of a container that stands still into ``folder``.

        No socket of it may lead out. ``lock`` is a descriptor that stays open as long as anything
        works on it, whatever becomes of this process. Raises ``HostError``.
        """

    def restore(self, container_id: str, bundle: Path, restore: Restore) -> int:
        """Run a bundle with the processes of a checkpoint; PID 1's id on this machine.

        Raises ``HostError``: memory_lost when the checkpoint cannot be restored.
        """

    def forget(self, container_id: str) -> None:
        """Drop the record of a container whose PID 1 has ended."""

    def containers(self) -> list[str]:
        """Ids of all containers it has a record of."""


class Runc:
    """runc from the distribution; its records lie in ``root``. ``criu`` writes memory to disk."""

    isolation = RUNC

    def __init__(self, root: Path, criu: Criu | None = None) -> None:
        self.root = root
        self.path = shutil.which("runc", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin")
        self._criu = criu
        self._is_fit = False

    def trouble(self) -> str | None:
        """Found out once: every create asks, and the answer takes a process."""
        if not self._is_fit:
            trouble = self._trouble()
            self._is_fit = trouble is None
            return trouble
        return None

    def _trouble(self) -> str | None:
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
        with door.listener(agent_socket) as listener:
            yield listener.fileno()

    def found(self, agent_socket: Path, *, owner: int) -> None:
        """It listens as it did."""

    def view(self, container_id: str, pid: int) -> View:
        return View(pid)

    def start(self, container_id: str, bundle: Path, *, listener: int) -> int:
        """``listener`` becomes PID 1's descriptor 3."""
        log, pid_file = bundle / "runc.log", bundle / "runc.pid"
        command = ["run", "--detach", "--preserve-fds", "1", "--pid-file", str(pid_file)]
        child = self._spawn(log, [*command, "--bundle", str(bundle), container_id], passed=listener)
        if _wait(child, START_SECONDS) != 0:
            reason = _last_message(log)
            raise HostError("internal", f"The sandbox could not be started: {reason}")
        return int(pid_file.read_text())

    def _spawn(self, log: Path, words: Sequence[str], *, passed: int | None = None) -> int:
        """Without a fork of this process, whose size would make that slow; ``passed`` becomes 3."""
        command = ["runc", "--root", str(self.root), "--log", str(log), "--log-format", "json"]
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        high = os.dup(passed) if passed is not None and passed < 4 else passed
        try:
            actions = [(os.POSIX_SPAWN_DUP2, null, number) for number in range(3)]
            if high is not None:
                actions.append((os.POSIX_SPAWN_DUP2, high, 3))
            return os.posix_spawn(
                self.path or "runc",
                [*command, *words],
                self._environment(),
                file_actions=actions,
                setpgroup=0,
            )
        finally:
            os.close(null)
            if high is not None and high != passed:
                os.close(high)

    def _environment(self) -> dict[str, str]:
        """runc lives for milliseconds: one thread and no collector save a sixth of its time."""
        path = os.environ.get("PATH", "")
        if self._criu is not None:
            path = f"{self._criu.folder}:{path}:/usr/sbin:/sbin"
        return {**os.environ, "GOMAXPROCS": "1", "GOGC": "off", "PATH": path}

    def annotations(self, *, restored: bool) -> Mapping[str, str]:
        return {_ANNOTATION: str(self._criu.options(restored=restored))} if self._criu else {}

    def memory_trouble(self) -> str | None:
        return self._criu.trouble() if self._criu else "CRIU is not set up."

    def hold(self, container_id: str) -> None:
        """The freezer is enough."""

    def let_go(self, container_id: str) -> None:
        """The freezer was enough."""

    @property
    def works_frozen(self) -> bool:
        return True

    def reunite(self, agent_socket: Path, pid: int) -> bool:
        return door.enter(pid, agent_socket)

    def checkpoint(self, container_id: str, folder: Path, *, lock: int) -> None:
        images, work = folder / "images", folder / "work"
        for path in (images, work):
            path.mkdir(mode=0o700)
        command = ["checkpoint", "--leave-running", *_KEPT]
        command += ["--image-path", str(images), "--work-path", str(work), container_id]
        child = self._spawn(work / "runc.log", command, passed=lock)
        if _wait(child, MEMORY_SECONDS) != 0:
            raise HostError("internal", complaint(work / "dump.log"))

    def restore(self, container_id: str, bundle: Path, restore: Restore) -> int:
        trouble = self.memory_trouble()
        if self._criu is None or trouble:
            raise HostError("memory_lost", trouble or "CRIU is not set up.")
        with self._criu.restoring(restore.folder / "images", base=restore.base) as restoring:
            pid_file, log = bundle / "runc.pid", bundle / "runc.log"
            command = ["restore", "--detach", *_KEPT, "--image-path", str(restoring.images)]
            command += ["--work-path", str(restoring.folder), "--pid-file", str(pid_file)]
            child = self._spawn(log, [*command, "--bundle", str(bundle), container_id])
            status = _wait(child, MEMORY_SECONDS, partial(restoring.pass_gate, ready=restore.ready))
            if status != 0:
                reason = complaint(restoring.folder / "restore.log")
                raise HostError("memory_lost", f"{reason} ({_last_message(log)})")
        return int(pid_file.read_text())

    def forget(self, container_id: str) -> None:
        shutil.rmtree(self.root / container_id, ignore_errors=True)

    def containers(self) -> list[str]:
        try:
            return sorted(entry.name for entry in self.root.iterdir())
        except FileNotFoundError:
            return []


def _wait(pid: int, seconds: float, meanwhile: Callable[..., None] | None = None) -> int:
    """Its exit status; it is killed with all it started when it takes longer."""
    fd = os.pidfd_open(pid)
    try:
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        try:
            if meanwhile is not None:
                meanwhile(fd, seconds=seconds)
        finally:
            if not poll.poll(seconds * 1000):
                os.killpg(pid, signal.SIGKILL)
            status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    finally:
        os.close(fd)
    return status


def _last_message(log: Path) -> str:
    """The last thing runc complained about."""
    with suppress(OSError, ValueError, KeyError, IndexError):
        return str(json.loads(log.read_text().strip().splitlines()[-1])["msg"])
    return "runc did not say why."
