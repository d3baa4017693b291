"""A sandbox as an OCI runtime configuration: namespaces, ids, limits and what it may not touch."""

from __future__ import annotations

import resource
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sandboxes.host import seccomp
from sandboxes.host.mounts import IDS

#: Where the agent's binary shows inside. Read-only, and nothing else of the machine shows.
AGENT_PATH = "/.agent"
#: Where a sandbox's volume is.
VOLUME = "/persist"

#: What installing packages and switching users takes. No raw sockets, devices, or tracing.
CAPABILITIES = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_NET_BIND_SERVICE",
    "CAP_SETGID",
    "CAP_SETUID",
]

MASKED = [
    "/proc/acpi",
    "/proc/asound",
    "/proc/interrupts",
    "/proc/kcore",
    "/proc/keys",
    "/proc/latency_stats",
    "/proc/sched_debug",
    "/proc/scsi",
    "/proc/timer_list",
    "/sys/devices/virtual/block",
    "/sys/devices/virtual/dmi",
    "/sys/devices/virtual/powercap",
    "/sys/firmware",
]
READ_ONLY = ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]

_NOSUID_NOEXEC_NODEV = ["nosuid", "noexec", "nodev"]
_CPU_PERIOD = 100_000
_MIB = 1024 * 1024
_OPEN_FILES = 65536


@dataclass(frozen=True, slots=True)
class Bundle:
    """What one container is made of. ``uid_base`` is the machine's id behind the sandbox's 0.

    ``swap`` says whether this kernel can limit swap; ``cgroup`` is a path below every hierarchy;
    ``outside`` is as in ``slots.Shape``. ``volume`` is a mount of the host's to be at ``VOLUME``
    from the start, which a restored container's processes take for granted.
    """

    directory: Path
    agent: Path
    cgroup: str
    hostname: str
    uid_base: int
    cpu: float
    memory_mb: int
    pids: int
    swap: bool
    outside: bool = False
    volume: Path | None = None
    annotations: Mapping[str, str] = field(default_factory=dict)


def configuration(bundle: Bundle) -> dict[str, Any]:
    """``config.json`` for this bundle. PID 1 is the agent, with its listening socket as fd 3."""
    ids = [{"containerID": 0, "hostID": bundle.uid_base, "size": IDS}]
    kinds = ("pid", "ipc", "uts", "mount", "cgroup", "network", "user")
    return {
        "ociVersion": "1.0.2",
        "process": _process(),
        "root": {"path": "rootfs", "readonly": False},
        "hostname": bundle.hostname,
        "mounts": [*_mounts(bundle.agent), *_volumes(bundle.volume)],
        "annotations": dict(bundle.annotations),
        "linux": {
            "namespaces": [{"type": kind} for kind in kinds],
            "uidMappings": ids,
            "gidMappings": ids,
            "cgroupsPath": bundle.cgroup,
            "resources": _resources(bundle),
            "seccomp": seccomp.profile(),
            "maskedPaths": MASKED,
            "readonlyPaths": READ_ONLY,
        },
    }


def _process() -> dict[str, Any]:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    files = _OPEN_FILES if hard == resource.RLIM_INFINITY else min(hard, _OPEN_FILES)
    return {
        "terminal": False,
        "user": {"uid": 0, "gid": 0},
        "args": [AGENT_PATH, "--fd", "3"],
        "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"],
        "cwd": "/",
        "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), CAPABILITIES),
        "noNewPrivileges": True,
        "rlimits": [
            {"type": "RLIMIT_NOFILE", "hard": files, "soft": files},
            {"type": "RLIMIT_CORE", "hard": 0, "soft": 0},
        ],
    }


def _mounts(agent: Path) -> list[dict[str, Any]]:
    shm = [*_NOSUID_NOEXEC_NODEV, "mode=1777", "size=65536k"]
    pts = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"]
    return [
        _mount("/proc", "proc", []),
        _mount("/dev", "tmpfs", ["nosuid", "strictatime", "mode=755", "size=4096k"]),
        _mount("/dev/pts", "devpts", pts),
        _mount("/dev/shm", "tmpfs", shm),  # noqa: S108 - inside the sandbox
        _mount("/dev/mqueue", "mqueue", _NOSUID_NOEXEC_NODEV),
        _mount("/sys", "sysfs", [*_NOSUID_NOEXEC_NODEV, "ro"]),
        {
            "destination": AGENT_PATH,
            "type": "bind",
            "source": str(agent),
            "options": ["bind", "ro", "nosuid", "nodev"],
        },
    ]


def _volumes(source: Path | None) -> list[dict[str, Any]]:
    if source is None:
        return []
    options = ["bind", "nosuid", "nodev"]
    return [{"destination": VOLUME, "type": "bind", "source": str(source), "options": options}]


def _mount(destination: str, kind: str, options: list[str]) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": kind, "options": options}


def _resources(bundle: Bundle) -> dict[str, Any]:
    memory = {"limit": bundle.memory_mb * _MIB}
    if bundle.swap:
        memory["swap"] = memory["limit"]
    return {
        "devices": [{"allow": False, "access": "rwm"}],
        "memory": memory,
        "cpu": {"quota": int(bundle.cpu * _CPU_PERIOD), "period": _CPU_PERIOD},
        "pids": {"limit": bundle.pids},
    }
