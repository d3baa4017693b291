"""Start the proxy's process, find one that an earlier host left, and end it for certain."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import sandboxes
from sandboxes.host.egress import control
from sandboxes.host.egress.limits import Limits

#: A user nobody logs in as, from the range that distributions leave to services of the moment.
PROXY_UID = 64128
_END_SECONDS = 5.0


def socket_path(directory: Path) -> Path:
    """Where the proxy listens for its host. The folder is closed to everyone but the host."""
    return directory / "egress.sock"


async def start(
    directory: Path, *, uid: int, limits: Limits, orphan_seconds: float, stage: Path | None = None
) -> subprocess.Popen[bytes]:
    """A new proxy for ``directory``. Whatever served it before is ended first."""
    await end_leftover(directory)
    listener = control.listen(socket_path(directory))
    with listener:
        command = _command(listener, uid=uid, limits=limits, orphan_seconds=orphan_seconds)
        command += ["--stage", str(stage)] if stage is not None else []
        process = await asyncio.to_thread(_run, command, listener.fileno())
    (directory / "egress.pid").write_text(f"{process.pid} {_started(process.pid)}")
    return process


async def end_leftover(directory: Path) -> None:
    """Kill the process that ``egress.pid`` names, if it is still that process."""
    file = directory / "egress.pid"
    with suppress(FileNotFoundError, ValueError):
        pid, started = file.read_text().split()
        await _end(int(pid), started)
    file.unlink(missing_ok=True)


def _run(command: list[str], fd: int) -> subprocess.Popen[bytes]:
    """Not asyncio's subprocess: that one kills its process when the loop ends."""
    return subprocess.Popen(
        command,
        pass_fds=(fd,),
        stdin=subprocess.DEVNULL,
        env=_environment(),
        start_new_session=True,
    )


async def _end(pid: int, started: str) -> None:
    if _started(pid) != started:
        return
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    async with asyncio.timeout(_END_SECONDS):
        while _started(pid) == started:  # noqa: ASYNC110 - the kernel sets no event
            await asyncio.sleep(0.01)


def _started(pid: int) -> str:
    """When a live process began, in the kernel's ticks: with the pid, its identity."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return ""
    return "" if fields[0] in {"Z", "X"} else fields[19]


def _command(
    listener: socket.socket, *, uid: int, limits: Limits, orphan_seconds: float
) -> list[str]:
    return [
        *(sys.executable, "-m", "sandboxes.host.egress"),
        *("--control", str(listener.fileno()), "--uid", str(uid)),
        *("--limits", json.dumps(limits.to_json()), "--orphan-seconds", str(orphan_seconds)),
    ]


def _environment() -> dict[str, str]:
    """Nothing of the host's own environment: it holds secrets, and the proxy faces strangers."""
    root = Path(sandboxes.__file__).resolve().parents[1]
    return {"PATH": os.environ.get("PATH", os.defpath), "PYTHONPATH": str(root), "LANG": "C.UTF-8"}
