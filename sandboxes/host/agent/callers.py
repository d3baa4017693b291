"""Agents that call the host, because nobody outside can put a listener into their kernel.

Each has a folder of the host's beside its socket's path, mounted for its agent alone
(``dial.c``): this process listens at ``agent`` in it, and the agent keeps some connections
waiting there. ``link.py`` takes one of them where it would connect to another agent.
"""

from __future__ import annotations

import os
import select
import shutil
import socket
from pathlib import Path

_NAME = "agent"
_BACKLOG = 512
#: Of the sockets here, by the path that the agent would listen at if it could.
_listeners: dict[Path, socket.socket] = {}
#: Owners of those that are to find nobody until ``rejoin``.
_apart: dict[Path, int] = {}


def folder_of(agent_socket: Path) -> Path:
    """Where the sockets are that this agent can call."""
    return agent_socket.with_suffix(".d")


def expect(agent_socket: Path, *, owner: int) -> None:
    """Listen for calls of an agent whose root is ``owner``. Raises ``OSError``."""
    folder = folder_of(agent_socket)
    folder.mkdir(mode=0o755, exist_ok=True)
    os.chown(folder, owner, owner)
    stop(agent_socket)
    _listeners[agent_socket] = listener(folder / _NAME, owner=owner)


def listener(path: Path, *, owner: int) -> socket.socket:
    """A socket at ``path``, in place of whatever was there, that only ``owner`` may call."""
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.bind(str(path))
        os.chown(path, owner, owner)
        path.chmod(0o600)
        sock.listen(_BACKLOG)
    except OSError:
        sock.close()
        raise
    return sock


def calls(agent_socket: Path) -> bool:
    """Whether it is one of these agents."""
    return agent_socket in _listeners


def accept(agent_socket: Path) -> socket.socket:
    """A connection that waits, without blocking. Raises ``OSError`` when there is none."""
    sock = _listeners.get(agent_socket)
    if sock is None:
        raise ConnectionRefusedError("nobody expects this agent's calls any more")
    return sock.accept()[0]


def await_call(agent_socket: Path, *, seconds: float) -> socket.socket:
    """The next connection, whose every step may then take as long. Raises ``OSError``."""
    poll = select.poll()
    poll.register(_listeners[agent_socket], select.POLLIN)
    if not poll.poll(seconds * 1000):
        raise TimeoutError("it has not called")
    sock = accept(agent_socket)
    sock.settimeout(seconds)
    return sock


def part(agent_socket: Path) -> None:
    """Have its calls be in vain, those that wait included. Twice is fine."""
    sock = _listeners.get(agent_socket)
    if sock is not None:
        _apart[agent_socket] = folder_of(agent_socket).stat().st_uid
        stop(agent_socket)


def rejoin(agent_socket: Path) -> None:
    """Take its calls again, if they were in vain."""
    owner = _apart.pop(agent_socket, None)
    if owner is not None:
        expect(agent_socket, owner=owner)


def stop(agent_socket: Path) -> None:
    """Expect no more calls. The agent goes on trying, so a next host can expect them again."""
    sock = _listeners.pop(agent_socket, None)
    if sock is not None:
        sock.close()


def remove(agent_socket: Path) -> None:
    """Expect no more calls, ever."""
    _apart.pop(agent_socket, None)
    stop(agent_socket)
    shutil.rmtree(folder_of(agent_socket), ignore_errors=True)
