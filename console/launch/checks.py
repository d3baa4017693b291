"""What must be true of the machine before anything is started. Each check raises ``Problem``."""

from __future__ import annotations

import errno
import os
import platform
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path

from console.launch.layout import Layout, Options
from console.launch.processes import Records
from console.launch.say import Problem

# An overlay over an idmapped template, which every sandbox's root is.
OLDEST_KERNEL = (5, 19)
_CLONE_NEWNS = 0x00020000
_GIB = 1 << 30
_ROOM_FOR_TEMPLATES = 5 * _GIB
_ROOM_TO_RUN = _GIB


def machine(options: Options) -> None:
    """Everything that can be known before the first change to the machine."""
    system()
    kernel(platform.release())
    room(options.layout)
    # What a killed `make up` left listening is ended, and the port looked at again, later.
    if Records(options.layout.pids).living("asgi") is None:
        port(options.host, options.port)


def system() -> None:
    if sys.platform != "linux" or platform.machine() not in {"x86_64", "aarch64"}:
        raise Problem(
            f"Sandboxes need Linux on x86_64 or arm64; this is {sys.platform} "
            f"on {platform.machine()}.",
            advice="Run it on such a machine, or in a virtual machine on this one.",
        )


def kernel(release: str) -> None:
    """``release`` as ``uname -r`` says it."""
    numbers = tuple(int(part) for part in re.findall(r"\d+", release)[:2])
    if numbers < OLDEST_KERNEL:
        wanted = ".".join(map(str, OLDEST_KERNEL))
        raise Problem(
            f"The kernel is {release}; sandboxes need {wanted} or newer.",
            advice="Debian 12 and Ubuntu 24.04 bring one; on Ubuntu 22.04 install "
            "linux-generic-hwe-22.04 and restart the machine.",
        )


def room(layout: Layout) -> None:
    """Free bytes on the disk of the data folder."""
    needed = _ROOM_TO_RUN if layout.templates.is_dir() else _ROOM_FOR_TEMPLATES
    folder = next(path for path in (layout.data, *layout.data.parents) if path.is_dir())
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Problem(
            f"{folder} has {free / _GIB:.1f} GB free; {needed / _GIB:.0f} GB are needed.",
            advice="Free some space, or keep the data elsewhere: DATA=/path/with/space make up",
        )


def port(host: str, number: int) -> None:
    """Binds and lets go again."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, number))
        except OSError as error:
            raise _port_problem(host, number, error) from error


def root() -> None:
    """Whether this process may make namespaces and mounts."""
    if os.geteuid() != 0:
        raise Problem(
            "The sandbox host needs root, and there is no sudo.",
            advice="Run `make up` as root, or install sudo.",
        )
    if not _may_unshare():
        raise Problem(
            "This root may not make mount namespaces (it lacks CAP_SYS_ADMIN).",
            advice="In a container, start it with --privileged; otherwise use a virtual machine.",
        )


def readable(layout: Layout) -> None:
    """Whether others may read the checkout; a closed folder above it does not matter."""
    for path in (layout.root, layout.root / "manage.py", layout.root / "console" / "settings.py"):
        if path.stat().st_mode & 0o004 == 0:
            raise Problem(
                f"{path} can be read by its owner only; the servers run as another user.",
                advice=f"Open the checkout for reading: chmod -R go+rX {layout.root}",
            )


def _port_problem(host: str, number: int, error: OSError) -> Problem:
    if error.errno == errno.EADDRINUSE:
        return Problem(
            f"Port {number} on {host} is taken by another program.",
            advice=f"Stop that program, or take another port: PORT={number + 1000} make up",
        )
    return Problem(
        f"Cannot listen on {host}:{number}: {error.strerror or error}.",
        advice="HOST must be an address of this machine: HOST=127.0.0.1 make up",
    )


def _may_unshare() -> bool:
    """Tried in a child, so that this process stays where it is."""
    code = f"import ctypes,sys; sys.exit(ctypes.CDLL(None).unshare({_CLONE_NEWNS}) != 0)"
    return subprocess.run([sys.executable, "-I", "-S", "-c", code], check=False).returncode == 0


def have(program: str) -> bool:
    """Looks in the administrators' folders too: a plain user's PATH often leaves them out."""
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin:/sbin"
    return shutil.which(program, path=path) is not None


def static_libc() -> bool:
    """Whether C programs can be linked statically (the agent is)."""
    if have("musl-gcc"):
        return True
    if not have("gcc"):
        return False
    answer = subprocess.run(
        ["gcc", "-print-file-name=libc.a"], capture_output=True, text=True, check=False
    )
    return Path(answer.stdout.strip()).is_absolute() and Path("/usr/include/stdio.h").exists()
