"""Messages and descriptors between the sandbox host and its proxy: JSON in packets.

A unix SEQPACKET socket keeps messages whole and carries a listener's descriptor with its message.
Neither side ever waits for the other: what cannot be sent yet is queued.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

Message = dict[str, Any]

#: Changes when either side would misread the other; a host does not adopt a proxy of another.
PROTOCOL = 1
MESSAGE_LIMIT = 150_000
_BUFFER = 4 * MESSAGE_LIMIT
_BACKLOG = 8


class Control:
    """One end. ``on_message`` owns the descriptors it is given; ``on_close`` comes once."""

    def __init__(
        self,
        sock: socket.socket,
        *,
        on_message: Callable[[Message, list[int]], None],
        on_close: Callable[[], None],
    ) -> None:
        sock.setblocking(False)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        self._sock = sock
        self._on_message = on_message
        self._on_close = on_close
        self._queue: deque[tuple[bytes, list[int]]] = deque()
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(sock.fileno(), self._read)
        self.closed = False

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Queue a message. The descriptors are duplicated. Raises ``ValueError`` if too long."""
        data = json.dumps(message, separators=(",", ":")).encode()
        if len(data) > MESSAGE_LIMIT:
            raise ValueError("The message is too long for the proxy.")
        if self.closed:
            raise ConnectionResetError("the proxy is gone")
        self._queue.append((data, [os.dup(fd) for fd in fds]))
        if len(self._queue) == 1:
            self._write()

    def close(self) -> None:
        """Idempotent; ``on_close`` is called the first time."""
        if self.closed:
            return
        self.closed = True
        self._loop.remove_reader(self._sock.fileno())
        self._loop.remove_writer(self._sock.fileno())
        self._sock.close()
        for _, fds in self._queue:
            _close_all(fds)
        self._queue.clear()
        self._on_close()

    def _write(self) -> None:
        try:
            while self._queue:
                data, fds = self._queue[0]
                socket.send_fds(self._sock, [data], fds)
                self._queue.popleft()
                _close_all(fds)
        except BlockingIOError:
            self._loop.add_writer(self._sock.fileno(), self._write)
        except OSError:
            self.close()
        else:
            self._loop.remove_writer(self._sock.fileno())

    def _read(self) -> None:
        try:
            data, fds, flags, _ = socket.recv_fds(self._sock, MESSAGE_LIMIT, 4)
        except BlockingIOError:
            return
        except OSError:
            data, fds, flags = b"", [], 0
        message = _decoded(data) if not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC) else None
        if message is None:
            _close_all(fds)
            self.close()
            return
        self._on_message(message, list(fds))


def listen(path: Path) -> socket.socket:
    """A listening control socket at ``path``, in place of whatever was there."""
    path.unlink(missing_ok=True)
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with _short(path) as name:
        sock.bind(name)
    path.chmod(0o600)
    sock.listen(_BACKLOG)
    return sock


def connect(path: Path) -> socket.socket:
    """Raises ``OSError`` when nobody listens."""
    sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    try:
        with _short(path) as name:
            sock.connect(name)
    except OSError:
        sock.close()
        raise
    return sock


class _short:  # noqa: N801 - reads as a function
    """A name for ``path`` that fits into a socket address, however deep ``path`` lies."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def __enter__(self) -> str:
        self._fd = os.open(self._path.parent, os.O_PATH | os.O_DIRECTORY)
        return f"/proc/self/fd/{self._fd}/{self._path.name}"

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _decoded(data: bytes) -> Message | None:
    try:
        message = json.loads(data)
    except ValueError:
        return None
    return message if isinstance(message, dict) else None


def _close_all(fds: Sequence[int]) -> None:
    for fd in fds:
        with suppress(OSError):
            os.close(fd)
