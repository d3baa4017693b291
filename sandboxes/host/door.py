"""Coming back to an agent that has closed everything that led out of its sandbox.

It waits at a name in its own network namespace (``agent/quiesce.c``) for a listening socket.
"""

from __future__ import annotations

import array
import os
import socket
import struct
from pathlib import Path

from sandboxes.host import namespaces, netns
from sandboxes.host.types import HostError

_NAME = "\0.agent"
_SECONDS = 5.0


def enter(pid: int, path: Path) -> bool:
    """Have the agent listen at ``path`` again; False when it never stopped. Blocks.

    ``pid`` is the agent's: whoever else waits at its name is not spoken to. Raises ``HostError``.
    """
    try:
        return namespaces.inside(netns.of_process(pid), lambda: _enter(pid, path))
    except ConnectionRefusedError:
        return False
    except OSError as error:
        raise _lost(str(error)) from error


def _enter(pid: int, path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as door:
        door.settimeout(_SECONDS)
        door.connect(_NAME)
        peer, _, _ = struct.unpack("3i", door.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12))
        if peer != pid:
            raise _lost("something else is in its place")
        with listener(path) as fresh:
            fds = array.array("i", [fresh.fileno()])
            door.sendmsg([b"."], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, fds)])
            if door.recv(1) != b".":
                raise _lost("it took no listener")
    return True


def listener(path: Path) -> socket.socket:
    """A socket that listens at ``path``, in place of whatever was there."""
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.bind(os.fspath(path))
        sock.listen(512)
    except OSError:
        sock.close()
        raise
    return sock


def _lost(detail: str) -> HostError:
    return HostError(
        "agent_lost",
        f"The sandbox's agent is lost ({detail}); terminate the sandbox and create another.",
    )
