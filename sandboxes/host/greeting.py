"""The first word with an agent that is only just being started. What is here blocks."""

from __future__ import annotations

import socket
import struct
from pathlib import Path

from sandboxes.host.agent import callers
from sandboxes.host.types import HostError

_AGENT_SECONDS = 10.0
#: The agent's PING, an empty frame of type 9, and the type of its answer.
_PING, _PONG = struct.pack("<IB", 0, 9), 68


def greet(agent: Path) -> None:
    """Wait for its first answer. Raises ``HostError`` agent_lost."""
    try:
        with _connected(agent) as probe:
            probe.sendall(_PING)
            answer = probe.recv(5)
    except OSError as error:
        raise HostError("agent_lost", f"The sandbox's agent does not answer: {error}") from error
    if len(answer) < 5 or answer[4] != _PONG:
        raise HostError("agent_lost", "The sandbox's agent does not speak our protocol.")


def _connected(agent: Path) -> socket.socket:
    """To an agent that is only just being started."""
    if callers.calls(agent):
        return callers.await_call(agent, seconds=_AGENT_SECONDS)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        sock.settimeout(_AGENT_SECONDS)
        sock.connect(str(agent))
    except OSError:
        sock.close()
        raise
    return sock
