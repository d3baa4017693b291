"""What a restart of the machine does to sandboxes, beside a ``stack`` that goes on."""

from __future__ import annotations

import json
import signal
from collections.abc import Sequence
from pathlib import Path

import psutil

from sandboxes.host.cgroups import Cgroups
from tests.stack import Stack
from tests.waiting import until


def first_process(stack: Stack, sandbox_id: str) -> int:
    """Of a sandbox, as this machine counts."""
    host = stack.layout.host
    state = json.loads((host / "sandboxes" / sandbox_id / "state.json").read_bytes())
    slot = json.loads((host / "slots" / state["slot"] / "slot.json").read_bytes())
    return int(slot["identity"]["pid"])


def lose(stack: Stack, sandbox_ids: Sequence[str]) -> None:
    """End the host and all that runs in these, and start another host."""
    pids = [first_process(stack, one) for one in sandbox_ids]
    stack.kill("host")
    for pid in pids:
        psutil.Process(pid).send_signal(signal.SIGKILL)
        _thaw(pid)
    until(lambda: not any(map(psutil.pid_exists, pids)), what="they are gone")
    stack.start("host")


def _thaw(pid: int) -> None:
    """What is frozen does not die."""
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, group = line.split(":", 2)
        if controllers in {"freezer", ""}:
            Cgroups().group(group).freezer.thaw()
