"""One process on this machine, told apart from a later one with the same id."""

from __future__ import annotations

import os
import select
import signal
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Identity:
    """A process id and when it started, in clock ticks since boot, and which boot that was."""

    pid: int
    started: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Identity:
        """Raises ``OSError`` when there is no such process."""
        return cls(pid, _started(pid), _boot())


def _started(pid: int) -> int:
    text = Path(f"/proc/{pid}/stat").read_text()
    return int(text.rpartition(")")[2].split()[19])


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def watch(identity: Identity) -> int | None:
    """A pidfd that turns readable when it ends; None when it has ended."""
    try:
        fd = os.pidfd_open(identity.pid)
    except OSError:
        return None
    with suppress(OSError):
        if Identity.of(identity.pid) == identity and not ended(fd):
            return fd
    os.close(fd)
    return None


def ended(pidfd: int, *, wait_seconds: float = 0) -> bool:
    """Whether it has ended, or does within the time."""
    poll = select.poll()
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(wait_seconds * 1000))


def kill(pidfd: int) -> None:
    """SIGKILL; fine when it has ended."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)


def reap(pidfd: int) -> str:
    """How it ended, when it was our child: "status 1", "signal 9"; else an empty string."""
    try:
        result = os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG)
    except OSError:
        return ""
    if result is None:
        return ""
    how = "status" if result.si_code == os.CLD_EXITED else "signal"
    return f"{how} {result.si_status}"
