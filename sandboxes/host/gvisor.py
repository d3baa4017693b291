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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from sandboxes.host import mounts, oci, seccomp
from sandboxes.host.agent import callers
from sandboxes.host.oci import AGENT_PATH, Bundle
from sandboxes.host.runtime import GVISOR, MEMORY_SECONDS, START_SECONDS, Restore, View
from sandboxes.host.types import HostError

#: Where the agent finds the host's sockets; it hides the place before anything else runs.
CALLS_PATH = "/.host"
_CALLS = "calls"
_NETWORK = "orkestr.network"
_FLAGS = ("--platform=systrap", "--overlay2=none", "--host-uds=open", "--oci-seccomp")
#: gVisor mounts a /tmp of its own, in memory, over an empty one. The agent removes this file.
_KEEPS_TMP = ".agent"
#: Threads of the kernel itself, and for each of the sandbox's own tasks: a bound that only a broken
#: kernel meets. What the sandbox may start is limited inside (``dial.c``).
_KERNEL_THREADS, _THREADS_EACH = 512, 4
_END_SECONDS = 5.0
_PID = "runsc.pid"
#: Lines of a complaint that say where in its code it was.
_TRACE = re.compile(r"goroutine |\s|$")


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
        if complaint := self._begin(container_id, bundle, ["run"]):
            raise HostError("internal", f"The sandbox could not be started: {complaint}")
        return int((bundle / _PID).read_text())

    def _begin(self, container_id: str, bundle: Path, how: list[str]) -> str:
        """What it complained about, as ``_run``."""
        self.root.mkdir(mode=0o700, exist_ok=True)
        _keep_tmp(bundle / "rootfs")
        network = json.loads((bundle / "config.json").read_text())["annotations"][_NETWORK]
        options = [f"--network={network}", f"--log={os.devnull}"]
        where = ["--detach", f"--pid-file={bundle / _PID}", f"--bundle={bundle}"]
        return self._run([*options, *how, *where, container_id])

    def _run(
        self, words: list[str], *, passed: Sequence[int] = (), seconds: float = START_SECONDS
    ) -> str:
        """What it complained about; empty when it did as told."""
        if self.program is None:
            raise HostError("isolation_unavailable", self._reason)
        with tempfile.TemporaryFile() as said:
            done = subprocess.run(
                [str(self.program), f"--root={self.root}", *_FLAGS, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=said,
                pass_fds=passed,
                timeout=seconds,
                check=False,
            )
            said.seek(0)
            lines = said.read().decode(errors="replace").strip().splitlines()
        if done.returncode == 0:
            return ""
        told = [line for line in lines if not _TRACE.match(line)]
        return told[0].rstrip(": ")[:300] if told else f"runsc ended with status {done.returncode}."

    def view(self, container_id: str, pid: int) -> View:
        """The server of its files: the kernel itself has none."""
        server = self._server(container_id)
        if server is None:
            raise FileNotFoundError(f"nothing is recorded of container {container_id}")
        return View(server, "/root")

    def annotations(self, *, restored: bool) -> Mapping[str, str]:
        return {}

    def memory_trouble(self) -> str | None:
        return self.trouble()

    def hold(self, container_id: str) -> None:
        """Its kernel has to run to be written down, and then no program may."""
        if complaint := self._run(["pause", container_id]):
            raise HostError("internal", f"its kernel does not stand still ({complaint})")

    def let_go(self, container_id: str) -> None:
        self._run(["resume", container_id])

    @property
    def works_frozen(self) -> bool:
        return False

    def reunite(self, agent_socket: Path, pid: int) -> bool:
        callers.rejoin(agent_socket)
        return True

    def checkpoint(self, container_id: str, folder: Path, *, lock: int) -> None:
        images = folder / "images"
        images.mkdir(mode=0o700)
        command = ["checkpoint", "--leave-running", "--compression=none"]
        command += [f"--image-path={images}", container_id]
        if complaint := self._run(command, passed=(lock,), seconds=MEMORY_SECONDS):
            raise HostError("internal", complaint)

    def restore(self, container_id: str, bundle: Path, restore: Restore) -> int:
        """``ready`` comes after its programs have begun to run: nothing holds them before."""
        with self.meeting(restore.agent_socket, bundle, owner=restore.base):
            how = ["restore", f"--image-path={restore.folder / 'images'}"]
            if complaint := self._begin(container_id, bundle, how):
                raise HostError("memory_lost", complaint)
        pid = int((bundle / _PID).read_text())
        _drop_tmp(bundle / "rootfs")
        restore.ready(pid)
        return pid

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


def _keep_tmp(rootfs: Path) -> None:
    """Follows no link: a fork's files are what its source made of them."""
    with suppress(OSError), _tmp(rootfs) as tmp:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        os.close(os.open(_KEEPS_TMP, flags, 0o644, dir_fd=tmp))


def _drop_tmp(rootfs: Path) -> None:
    with suppress(OSError), _tmp(rootfs) as tmp:
        os.unlink(_KEEPS_TMP, dir_fd=tmp)


@contextmanager
def _tmp(rootfs: Path) -> Iterator[int]:
    fd = os.open(rootfs / "tmp", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield fd
    finally:
        os.close(fd)


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
