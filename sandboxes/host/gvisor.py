"""gVisor: every sandbox has a kernel of its own, a program of this machine's like any other.

What a sandbox asks of "the kernel" runsc answers itself; the machine's kernel sees one process
with a narrow filter. What differs from runc is said in docs/isolation.md.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sandboxes.host import mounts, oci, seccomp
from sandboxes.host.agent import callers
from sandboxes.host.oci import AGENT_PATH, Bundle
from sandboxes.host.runtime import GVISOR, START_SECONDS, Ready, View
from sandboxes.host.types import HostError

#: Where the agent finds the host's sockets; it hides the place before anything else runs.
CALLS_PATH = "/.host"
_CALLS = "calls"
_NETWORK = "orkestr.network"
_FLAGS = ("--platform=systrap", "--overlay2=none", "--host-uds=open", "--oci-seccomp")
#: gVisor mounts a /tmp of its own, in memory, over an empty one. The agent removes this file.
_KEEPS_TMP = "tmp/.agent"
#: Threads of the kernel itself, and for each of the sandbox's own tasks: a bound that only a broken
#: kernel meets. What the sandbox may start is limited inside (``dial.c``).
_KERNEL_THREADS, _THREADS_EACH = 512, 4
_END_SECONDS = 5.0


class Runsc:
    """``program`` is runsc's path, None when this machine has none; records lie in ``root``."""

    isolation = GVISOR

    def __init__(self, root: Path, program: Path | None, *, reason: str = "") -> None:
        self.root = root
        self.program = program
        self._reason = reason

    def trouble(self) -> str | None:
        if self.program is None:
            return self._reason or "runsc is not on this machine; run `make up` to fetch it."
        if not os.access(self.program, os.X_OK):
            return f"{self.program} cannot be run; run `make up` to fetch it again."
        return None

    def configuration(self, bundle: Bundle) -> dict[str, Any]:
        """Without the filter for runc: calls do not reach the kernel that it protects."""
        config = oci.configuration(bundle)
        process, linux = config["process"], config["linux"]
        process["args"] = [AGENT_PATH, "--dial", CALLS_PATH, str(bundle.pids)]
        # To hide the calls' place and to limit processes; given up, and in no bounding set.
        for kind in ("effective", "permitted"):
            process["capabilities"][kind] = [*process["capabilities"][kind], "CAP_SYS_ADMIN"]
        linux["seccomp"] = _spare_agent()
        most = _KERNEL_THREADS + _THREADS_EACH * bundle.pids
        linux["resources"]["pids"] = {"limit": most}
        calls = {"destination": CALLS_PATH, "type": "bind", "options": ["bind", "ro"]}
        config["mounts"].append({**calls, "source": str(bundle.directory / _CALLS)})
        config["annotations"] = {_NETWORK: "host" if bundle.outside else "none"}
        return config

    @contextmanager
    def meeting(self, agent_socket: Path, bundle: Path, *, owner: int) -> Iterator[int]:
        """The agent calls; nothing is handed to the container but the folder to call from.

        A bind of it: the way to the folder itself is closed to the sandbox's ids.
        """
        callers.expect(agent_socket, owner=owner)
        (bundle / _CALLS).mkdir()
        mounts.bind(callers.folder_of(agent_socket), bundle / _CALLS)
        yield -1

    def found(self, agent_socket: Path, *, owner: int) -> None:
        callers.expect(agent_socket, owner=owner)

    def start(self, container_id: str, bundle: Path, *, listener: int) -> int:
        self.root.mkdir(mode=0o700, exist_ok=True)
        (bundle / "rootfs" / _KEEPS_TMP).touch()
        network = json.loads((bundle / "config.json").read_text())["annotations"][_NETWORK]
        pid_file = bundle / "runsc.pid"
        options = [f"--network={network}", f"--log={os.devnull}"]
        run = ["run", "--detach", f"--pid-file={pid_file}", f"--bundle={bundle}", container_id]
        if complaint := self._run([*options, *run]):
            raise HostError("internal", f"The sandbox could not be started: {complaint}")
        return int(pid_file.read_text())

    def _run(self, words: list[str]) -> str:
        """What it complained about; empty when it did as told."""
        if self.program is None:
            raise HostError("isolation_unavailable", self._reason)
        with tempfile.TemporaryFile() as said:
            done = subprocess.run(
                [str(self.program), f"--root={self.root}", *_FLAGS, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                timeout=START_SECONDS,
                check=False,
            )
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines()
        if done.returncode == 0:
            return ""
        return lines[-1] if lines else f"runsc ended with status {done.returncode}."

    def view(self, container_id: str, pid: int) -> View:
        """The server of its files: the kernel itself has none."""
        server = self._server(container_id)
        if server is None:
            raise FileNotFoundError(f"nothing is recorded of container {container_id}")
        return View(server, "/root")

    def annotations(self, *, restored: bool) -> Mapping[str, str]:
        return {}

    def memory_trouble(self) -> str | None:
        return "Sandboxes of gVisor keep their memory in the machine alone."

    def checkpoint(self, container_id: str, folder: Path, *, lock: int) -> None:
        raise HostError("internal", str(self.memory_trouble()))

    def restore(
        self, container_id: str, bundle: Path, *, folder: Path, base: int, ready: Ready
    ) -> int:
        raise HostError("memory_lost", str(self.memory_trouble()))

    def forget(self, container_id: str) -> None:
        """Its server of files ends with it, and was this process's child if this one started it."""
        server = self._server(container_id)
        if server is not None:
            _reap(server)
        for path in self.root.glob(f"{container_id}_sandbox:*"):
            path.unlink(missing_ok=True)
        (self.root / f"runsc-{container_id}.sock").unlink(missing_ok=True)
        shutil.rmtree(self.root / container_id, ignore_errors=True)

    def containers(self) -> list[str]:
        names = {re.match(r"([0-9a-f]+)_sandbox:", path.name) for path in self.root.glob("*:*")}
        return sorted(match[1] for match in names if match)

    def _server(self, container_id: str) -> int | None:
        path = self.root / f"{container_id}_sandbox:{container_id}.state"
        with suppress(OSError, ValueError, KeyError, TypeError):
            return int(json.loads(path.read_text())["goferPid"])
        return None


def _spare_agent() -> dict[str, Any]:
    """Linux lets nobody inside kill or stop PID 1; here it takes a filter of its own kernel's."""
    calls = {"kill": 1, "tkill": 1, "rt_sigqueueinfo": 1, "tgkill": 2, "rt_tgsigqueueinfo": 2}
    return {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": seccomp.profile()["architectures"],
        "syscalls": [
            {
                "names": [name],
                "action": "SCMP_ACT_ERRNO",
                "args": [
                    {"index": 0, "value": 1, "op": "SCMP_CMP_EQ"},
                    {"index": at, "value": int(number), "op": "SCMP_CMP_EQ"},
                ],
            }
            for name, at in calls.items()
            for number in (signal.SIGKILL, signal.SIGSTOP)
        ],
    }


def _reap(pid: int) -> None:
    deadline = time.monotonic() + _END_SECONDS
    with suppress(ChildProcessError):
        while os.waitpid(pid, os.WNOHANG)[0] == 0 and time.monotonic() < deadline:
            time.sleep(0.005)
