"""Starts the parts of an instance, starts again what dies, and stops it all in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from console.launch.layout import SERVICE_USER, Layout
from console.launch.processes import Identity, Records, end, end_group, identify, is_alive
from console.launch.say import Problem, tail
from console.launch.stopping import Stopping

_ENTER = Path(__file__).with_name("enter.py")
_LOG_LIMIT_BYTES = 20 * 1024 * 1024
_FIRST_DELAY, _LONGEST_DELAY = 0.2, 10.0
_STEADY_SECONDS = 30.0  # who ran this long starts afresh with the first delay


@dataclass(frozen=True)
class Part:
    """One process of an instance. ``is_ready`` is a real question to it, not a guess."""

    name: str
    argv: Sequence[str]
    env: Mapping[str, str]
    as_root: bool
    is_ready: Callable[[], bool]
    ready_seconds: float = 30
    stop_signal: signal.Signals = signal.SIGTERM
    stop_seconds: float = 15


@dataclass
class Running:
    """A part and its present process."""

    part: Part
    process: subprocess.Popen[bytes]
    identity: Identity
    since: float = field(default_factory=time.monotonic)
    delay: float = _FIRST_DELAY


class Supervisor:
    """Owns the processes of one data folder. Not for use from several threads."""

    def __init__(self, layout: Layout, *, stopping: Stopping) -> None:
        self.layout = layout
        self.stopping = stopping
        self.records = Records(layout.pids)
        self.running: dict[str, Running] = {}
        self._due: dict[str, tuple[float, Running]] = {}

    def start(self, *several: Part) -> None:
        """All at once. Returns when all are ready; ``Problem`` with the log of one that is not."""
        for running in [self._spawn(part) for part in several]:
            self._await_ready(running)

    def stop(self, name: str) -> None:
        """Ends one part as it wants to be ended. Not running is fine."""
        self._due.pop(name, None)
        running = self.running.pop(name, None)
        if running is not None:
            part = running.part
            end(running.identity, stop_signal=part.stop_signal, seconds=part.stop_seconds)
            self._bury(running)

    def kill(self, name: str) -> None:
        """Ends one part as a fault would: without warning."""
        running = self.running.pop(name)
        end(running.identity, stop_signal=signal.SIGKILL, seconds=1)
        self._bury(running)

    def stop_all(self) -> None:
        """In the reverse order of their starts."""
        for name in [*self._due, *reversed(self.running)]:
            self.stop(name)

    def watch(self) -> None:
        """Starts again what dies, until a stop is asked for."""
        while not self.stopping.requested:
            pidfds = {os.pidfd_open(each.process.pid): name for name, each in self.running.items()}
            try:
                ended = self.stopping.wait(list(pidfds), seconds=self._next_due())
            finally:
                for pidfd in pidfds:
                    os.close(pidfd)
            for pidfd in ended:
                self._schedule(pidfds[pidfd])
            self._start_due()

    def log_of(self, name: str) -> Path:
        return self.layout.logs / f"{name}.log"

    def _await_ready(self, running: Running) -> None:
        part = running.part

        def settled() -> bool:
            return not is_alive(running.identity) or part.is_ready()

        in_time = self.stopping.until(settled, seconds=part.ready_seconds)
        if not in_time or not is_alive(running.identity):
            log = self.log_of(part.name)
            what = "ended at once" if in_time else f"is not ready after {part.ready_seconds:.0f} s"
            raise Problem(f"{part.name} {what}:\n{tail(log)}", advice=f"Its whole log: {log}")

    def _spawn(self, part: Part) -> Running:
        argv = list(part.argv) if part.as_root else as_service(self.layout, part.argv)
        with open_log(self.log_of(part.name)) as log:
            process = subprocess.Popen(
                argv,
                env=dict(part.env),
                cwd=self.layout.root,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        identity = identify(process.pid) or Identity(pid=process.pid, started=0, boot="")
        self.records.save(part.name, identity)
        running = self.running[part.name] = Running(part, process, identity)
        return running

    def _bury(self, running: Running) -> None:
        running.process.wait()
        end_group(running.identity, instance=self.layout.instance)
        self.records.forget(running.part.name)

    def _schedule(self, name: str) -> None:
        running = self.running.pop(name)
        self._bury(running)
        if time.monotonic() - running.since > _STEADY_SECONDS:
            running.delay = _FIRST_DELAY
        self._due[name] = (time.monotonic() + running.delay, running)
        code = running.process.returncode
        print(f"{name} ended ({code}); again in {running.delay:.1f} s", flush=True)

    def _start_due(self) -> None:
        now = time.monotonic()
        for name in [name for name, (at, _) in self._due.items() if at <= now]:
            _, before = self._due.pop(name)
            self._spawn(before.part).delay = min(before.delay * 2, _LONGEST_DELAY)

    def _next_due(self) -> float:
        moments = [at for at, _ in self._due.values()]
        return max(0.0, min(moments) - time.monotonic()) if moments else 60.0


def as_service(layout: Layout, argv: Sequence[str]) -> list[str]:
    """The same program as the service user, able to reach the checkout wherever it lies."""
    needs = (layout.root, layout.data, Path(sys.base_prefix).resolve())
    needed = [word for need in needs for word in ("--need", str(need))]
    enter = [sys.executable, "-I", "-S", str(_ENTER), "--user", SERVICE_USER]
    return [*enter, *needed, "--", *argv]


def open_log(path: Path) -> BinaryIO:
    """Opened for appending; a long one is set aside first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and path.stat().st_size > _LOG_LIMIT_BYTES:
        path.replace(path.with_suffix(".log.1"))
    return path.open("ab")
