"""A small internet for tests: namespaces with the documentation ranges, a resolver, servers.

``World`` is one thread in a network namespace of its own, the "machine", with a resolver that
tests script. A second namespace behind it is everything else. Sandboxes are processes in
namespaces of their own. Nothing of it is seen by the machine that runs the tests.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import socket
import ssl
import struct
import subprocess
import threading
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from sandboxes.host import namespaces, netns

Result = TypeVar("Result")
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]

WAIT = 30.0
UPLINK, GATEWAY = "198.51.100.2", "198.51.100.1"
#: Addresses of the internet's servers; 10.99.0.1 and the metadata address lie there too.
SERVERS = (
    "203.0.113.10",
    "203.0.113.11",
    "203.0.113.12",
    "10.99.0.1",
    "169.254.169.254",
)
_CLONE_NEWNS, _CLONE_NEWNET, _MS_PRIVATE_REC, _MS_BIND = 0x20000, 0x40000000, 0x44000, 0x1000
_libc = ctypes.CDLL(None, use_errno=True)


@dataclass
class Space:
    """A process that sleeps in a network namespace of its own, with nothing but ``lo`` down."""

    process: subprocess.Popen[str] = field(
        default_factory=lambda: subprocess.Popen(
            ["unshare", "--net", "sh", "-c", "echo ready; exec sleep 3600"],
            stdout=subprocess.PIPE,
            text=True,
        )
    )

    def __post_init__(self) -> None:
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "ready\n"

    @property
    def pid(self) -> int:
        return self.process.pid

    def inside(self, work: Callable[[], Result]) -> Result:
        return namespaces.inside(netns.of_process(self.pid), work)

    def run(self, *command: str, timeout: float = WAIT) -> subprocess.CompletedProcess[str]:
        return self.inside(
            lambda: subprocess.run(
                command, capture_output=True, text=True, timeout=timeout, check=False
            )
        )

    def end(self) -> None:
        self.process.kill()
        self.process.wait(WAIT)
        if self.process.stdout is not None:
            self.process.stdout.close()


class World:
    """``run`` runs a coroutine on the machine; ``names`` is what its resolver answers."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.names: dict[str, list[str] | Callable[[], list[str]] | None] = {}
        self.asked: list[str] = []
        self.spaces: list[Space] = []
        self.loop = asyncio.new_event_loop()
        self.internet = self.space()
        self._ready = threading.Event()
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._live, daemon=True)
        self._thread.start()
        assert self._ready.wait(WAIT)
        if self._error is not None:
            raise self._error

    def run(self, work: Coroutine[Any, Any, Result], *, timeout: float = WAIT) -> Result:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(timeout)

    def space(self) -> Space:
        space = Space()
        self.spaces.append(space)
        return space

    def shell(self, script: str) -> None:
        """Run on the machine."""

        async def work() -> None:
            await asyncio.to_thread(_shell, script)

        self.run(work())

    def serve(
        self, address: str, port: int, handler: Handler, *, tls: ssl.SSLContext | None = None
    ) -> asyncio.Server:
        """A server of the internet. It runs in this process, its socket is over there."""

        def make() -> socket.socket:
            family = socket.AF_INET6 if ":" in address else socket.AF_INET
            sock = socket.socket(family, socket.SOCK_STREAM)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((address, port))
            return sock

        sock = self.internet.inside(make)

        async def start() -> asyncio.Server:
            return await asyncio.start_server(handler, sock=sock, ssl=tls)

        return self.run(start())

    def end(self) -> None:
        async def leave() -> None:
            others = asyncio.all_tasks() - {asyncio.current_task()}
            for task in others:
                task.cancel()
            await asyncio.gather(*others, return_exceptions=True)

        self.run(leave())
        self.loop.call_soon_threadsafe(self.loop.stop)
        self._thread.join(WAIT)
        for space in self.spaces:
            space.end()

    def _live(self) -> None:
        try:
            self._enter()
        except BaseException as error:
            self._error = error
            self._ready.set()
            return
        asyncio.set_event_loop(self.loop)
        self.loop.run_until_complete(self._resolver())
        self.loop.call_soon(self._ready.set)
        self.loop.run_forever()
        self.loop.run_until_complete(self.loop.shutdown_default_executor())
        self.loop.close()

    def _enter(self) -> None:
        """Mounts are this thread's own too: names are asked of the world's resolver only."""
        assert _libc.unshare(_CLONE_NEWNS | _CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        assert _libc.mount(None, b"/", None, _MS_PRIVATE_REC, None) == 0
        for name, text in (
            ("resolv.conf", "nameserver 127.0.0.1\noptions timeout:1 attempts:1\n"),
            ("nsswitch.conf", "hosts: files dns\n"),
            ("hosts", "127.0.0.1 localhost\n"),
        ):
            file = self.folder / name
            file.write_text(text)
            target = Path("/etc", name).resolve()
            assert _libc.mount(bytes(file), bytes(target), None, _MS_BIND, None) == 0
        netns.raise_loopback()
        pid = self.internet.pid
        _shell(f"""
            ip link add up0 type veth peer name down0 netns {pid}
            ip addr add {UPLINK}/24 dev up0
            ip -6 addr add 2600:1::2/64 dev up0 nodad
            ip link set up0 up
        """)
        addresses = "\n".join(f"ip addr add {address}/32 dev lo" for address in SERVERS)
        script = f"""
            ip link set lo up
            ip addr add {GATEWAY}/24 dev down0
            ip -6 addr add 2600:1::1/64 dev down0 nodad
            ip -6 addr add 2600:2::1/128 dev lo nodad
            ip link set down0 up
            {addresses}
        """
        self.internet.inside(lambda: _shell(script))
        _shell(f"ip route add default via {GATEWAY}\nip -6 route add default via 2600:1::1")

    async def _resolver(self) -> None:
        await self.loop.create_datagram_endpoint(
            lambda: _Resolver(self), local_addr=("127.0.0.1", 53)
        )


class _Resolver(asyncio.DatagramProtocol):
    """Answers A and AAAA from ``World.names``; a name that is not there does not exist.

    A name with ``None`` is never answered.
    """

    def __init__(self, world: World) -> None:
        self._world = world

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.DatagramTransport, transport)

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        labels, at = [], 12
        while data[at]:
            labels.append(data[at + 1 : at + 1 + data[at]].decode())
            at += 1 + data[at]
        question = data[12 : at + 5]
        kind = struct.unpack(">H", data[at + 1 : at + 3])[0]
        name = ".".join(labels).lower()
        if kind == 1:
            self._world.asked.append(name)
        known = self._world.names.get(name)
        if known is None and name in self._world.names:
            return
        if known is not None and not isinstance(known, list):
            known = known() if kind == 1 else []
        rows = b"".join(_row(text) for text in known or () if (":" in text) == (kind == 28))
        count = sum((":" in text) == (kind == 28) for text in known or ())
        flags = 0x8180 if known is not None else 0x8183
        head = data[:2] + struct.pack(">HHHHH", flags, 1, count if kind in (1, 28) else 0, 0, 0)
        self._transport.sendto(head + question + (rows if kind in (1, 28) else b""), addr)


def _row(text: str) -> bytes:
    family, kind = (socket.AF_INET6, 28) if ":" in text else (socket.AF_INET, 1)
    packed = socket.inet_pton(family, text)
    return b"\xc0\x0c" + struct.pack(">HHIH", kind, 1, 0, len(packed)) + packed


def _shell(script: str) -> None:
    subprocess.run(["sh", "-e", "-c", script], check=True, timeout=WAIT, capture_output=True)


async def read_all(reader: asyncio.StreamReader) -> bytes:
    """Everything until the other side ends or breaks."""
    data = bytearray()
    with suppress(ConnectionError):
        while part := await asyncio.wait_for(reader.read(65536), WAIT):
            data += part
    return bytes(data)
