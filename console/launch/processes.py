"""Processes by identity. A pid alone may by now be somebody else's; pid and start time are not."""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

_KILL_SECONDS = 10
INSTANCE_VARIABLE = "ORKESTR_INSTANCE"


@dataclass(frozen=True)
class Identity:
    """One process for all time: ``started`` is in clock ticks since the boot named by ``boot``."""

    pid: int
    started: int
    boot: str


def identify(pid: int) -> Identity | None:
    """Who has this pid now; None when nobody, or only a zombie, does."""
    fields = _stat(pid)
    if fields is None or fields[0] in "ZX":
        return None
    return Identity(pid=pid, started=int(fields[19]), boot=_boot_id())


def is_alive(identity: Identity) -> bool:
    return identify(identity.pid) == identity


def end(identity: Identity, *, stop_signal: signal.Signals, seconds: float) -> None:
    """Asks a process to stop, waits, and kills it when it does not. Gone already is fine."""
    with _held(identity) as pidfd:
        if pidfd is None:
            return
        for each, limit in ((stop_signal, seconds), (signal.SIGKILL, _KILL_SECONDS)):
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(pidfd, each)
            if _ended(pidfd, limit):
                return


def end_group(leader: Identity, *, instance: str) -> None:
    """Kills what is left of a leader's process group and carries this instance's mark."""
    for pid in _group_members(leader.pid):
        member = identify(pid)
        if member is not None and _instance_of(pid) == instance:
            end(member, stop_signal=signal.SIGKILL, seconds=_KILL_SECONDS)


class Records:
    """Who was started, one JSON file each, so that the next start finds what the last one left."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def save(self, name: str, identity: Identity) -> None:
        self.directory.mkdir(parents=True, exist_ok=True)
        new = self.directory / f".{name}.new"
        new.write_text(json.dumps(asdict(identity)))
        new.replace(self.directory / f"{name}.json")

    def load(self, name: str) -> Identity | None:
        """None when there is no record or it cannot be read."""
        try:
            return Identity(**json.loads((self.directory / f"{name}.json").read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def living(self, name: str) -> Identity | None:
        identity = self.load(name)
        return identity if identity is not None and is_alive(identity) else None

    def forget(self, name: str) -> None:
        (self.directory / f"{name}.json").unlink(missing_ok=True)


def age_seconds(identity: Identity) -> float:
    """How long ago a living process started."""
    ticks = os.sysconf("SC_CLK_TCK")
    return time.clock_gettime(time.CLOCK_BOOTTIME) - identity.started / ticks


@contextmanager
def _held(identity: Identity) -> Iterator[int | None]:
    """A pidfd of exactly this process: opened first, then checked, so it cannot be another."""
    try:
        pidfd = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        yield None
        return
    try:
        yield pidfd if is_alive(identity) else None
    finally:
        os.close(pidfd)


def _ended(pidfd: int, seconds: float) -> bool:
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(seconds * 1000))


def _group_members(group: int) -> list[int]:
    pids = [int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()]
    return [pid for pid in pids if (fields := _stat(pid)) and int(fields[2]) == group]


def _instance_of(pid: int) -> str | None:
    try:
        pairs = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return None
    prefix = f"{INSTANCE_VARIABLE}=".encode()
    return next((pair[len(prefix) :].decode() for pair in pairs if pair.startswith(prefix)), None)


def _stat(pid: int) -> list[str] | None:
    """Fields of /proc/<pid>/stat after the name, so 0 is the state, 2 the group, 19 the start."""
    try:
        text = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    return text[text.rindex(")") + 2 :].split()


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
