"""A sandbox's own ports: which are listened on, and connections to them from outside.

The socket is made inside the sandbox's network namespace and handed to the caller, so it reaches
the sandbox's loopback whatever its network is, and nothing of what passes goes through this
process. Where that namespace has only part of the sandbox's network the agent connects instead.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Final

from sandboxes.host import namespaces, netns, process
from sandboxes.host.agent import questions
from sandboxes.host.agent.reach import reach
from sandboxes.host.calls import Call
from sandboxes.host.daemon import Host
from sandboxes.host.live import Live
from sandboxes.host.networks import PROXY_PORT
from sandboxes.host.places import Slot
from sandboxes.host.runtime import GVISOR
from sandboxes.host.threads import in_thread
from sandboxes.host.types import HostError

#: A server that does not take a connection for so long is stuck, or its process stands still.
CONNECT_SECONDS: Final = 5.0
_HIGHEST: Final = 65535
_TABLE_BYTES: Final = 1024 * 1024
_LISTENS: Final = "0A"
_TABLES: Final = ("tcp", "tcp6")
#: Servers that listen on ``localhost`` take one of the two, and nobody chooses which.
_LOOPBACKS: Final = ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1"))
#: Addresses by which a listener can be reached on the loopback, as the kernel's tables write them.
_REACHABLE: Final = frozenset(
    {"00000000", "0100007F", "0" * 32, "0" * 24 + "01000000", "0" * 16 + "FFFF0000" + "0100007F"}
)


def check_port(port: int) -> int:
    """Raises ``HostError`` (invalid) for none of the sandbox's own."""
    if not 1 <= port <= _HIGHEST:
        raise HostError("invalid", f"A port is a number from 1 to {_HIGHEST}.")
    if port == PROXY_PORT:
        message = f"Port {PROXY_PORT} belongs to the sandbox's way out; listen on another."
        raise HostError("invalid", message)
    return port


async def connect(slot: Slot, port: int) -> socket.socket:
    """A connection to what listens on ``port``. Raises ``HostError``: not_listening,
    not_answering, not_running."""
    if slot.isolation == GVISOR:
        return await _through_agent(slot, port)
    loop = asyncio.get_running_loop()
    for family, address in _LOOPBACKS:
        try:
            sock = await asyncio.to_thread(_socket_in, slot, family)
        except OSError as error:
            if family == socket.AF_INET6:  # a machine, or a sandbox, without it
                break
            raise HostError("not_running", "The sandbox has ended; create another.") from error
        try:
            async with asyncio.timeout(CONNECT_SECONDS):
                await loop.sock_connect(sock, (address, port))
        except TimeoutError as error:
            sock.close()
            raise _not_answering(port) from error
        except OSError:
            sock.close()
        except BaseException:
            sock.close()
            raise
        else:
            return sock
    raise _not_listening(port)


async def _through_agent(slot: Slot, port: int) -> socket.socket:
    try:
        async with asyncio.timeout(CONNECT_SECONDS):
            return await reach(slot.agent_socket, port)
    except TimeoutError as error:
        raise _not_answering(port) from error
    except ConnectionRefusedError as error:
        raise _not_listening(port) from error
    except OSError as error:
        message = f"The sandbox could not reach its port {port} ({error}); try again."
        raise HostError("not_answering", message) from error


def _not_answering(port: int) -> HostError:
    message = f"What listens on port {port} takes no connection; look whether it is stuck."
    return HostError("not_answering", message)


def _not_listening(port: int) -> HostError:
    return HostError("not_listening", f"Nothing listens on port {port} in the sandbox.")


async def listening(host: Host, live: Live) -> list[int]:
    """The ports that a connection from the loopback would reach, lowest first."""
    slot = live.box.slot
    if slot.isolation != GVISOR:
        tables = await in_thread(host.threads, partial(_tables, slot))
    elif live.pause.state is None:
        tables = [await _table_inside(slot, name) for name in _TABLES]
    else:  # nobody in there can be asked
        tables = []
    rows = [line for table in tables for line in table[1:]]
    fields = [row.split() for row in rows]
    local = [row[1].split(":") for row in fields if len(row) > 3 and row[3] == _LISTENS]
    found = {int(port, 16) for address, port in local if address in _REACHABLE}
    return sorted(found - {PROXY_PORT})


def _tables(slot: Slot) -> list[list[str]]:
    """Blocks."""
    found = [_table(slot, name) for name in _TABLES]
    return found if slot.alive() else []  # what was read may be another process's


async def _table_inside(slot: Slot, name: str) -> list[str]:
    """As its own kernel has it."""
    try:
        name = f"/proc/net/{name}"
        found = await questions.peek(slot.agent_socket, name, limit=_TABLE_BYTES)
    except HostError:
        return []
    return found.decode("ascii", "replace").splitlines()


def _table(slot: Slot, name: str) -> list[str]:
    """Of the namespace. A sandbox can make it long; more than a megabyte is not looked at."""
    try:
        with Path(f"/proc/{slot.identity.pid}/net/{name}").open() as file:
            return file.read(_TABLE_BYTES).splitlines()
    except OSError:
        return []


def _socket_in(slot: Slot, family: socket.AddressFamily) -> socket.socket:
    """Raises ``OSError``, also when the sandbox ended and its process id may be another's."""
    make = partial(socket.socket, family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    sock = namespaces.inside(netns.of_process(slot.identity.pid), make)
    if process.ended(slot.pidfd):
        sock.close()
        raise ProcessLookupError("the sandbox has ended")
    return sock


async def _connect_port(host: Host, call: Call) -> None:
    """Answers with the connection itself, as a descriptor beside the frame."""
    live, port = host.live(call.sandbox_id), check_port(call.number("port"))
    sock = await connect(live.box.slot, port)
    with sock:
        live.pause.check()
        live.previews.note(port, address=call.text("address"), actor=call.actor)
        call.send_descriptor({"ok": True}, sock.fileno())


async def _ports(host: Host, call: Call) -> None:
    found = await listening(host, host.found(call.sandbox_id))
    await call.send({"ok": True, "ports": found})


CALLS: Final[Mapping[str, Callable[[Host, Call], Awaitable[None]]]] = {
    "connect_port": _connect_port,
    "ports": _ports,
}
