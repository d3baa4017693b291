"""From a name to a connection: resolve once, check every address, connect to a checked one."""

from __future__ import annotations

import asyncio
import errno
import socket
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import chain, zip_longest

from sandboxes.host.egress import addresses, domains
from sandboxes.host.egress.channel import Channel
from sandboxes.host.egress.limits import Limits

#: How long an address has for itself before the next is tried beside it.
_STAGGER_SECONDS = 0.25
_ADDRESSES = 8
_THREADS = 128


class DialError(Exception):
    """No connection. ``denied`` tells a refused address from a network that failed."""

    def __init__(
        self, reason: str, message: str, *, status: int, denied: bool = False, address: str = ""
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.status = status
        self.denied = denied
        self.address = address


def refusal(address: str, *, own: bool = False) -> str | None:
    """``addresses.refusal``, and this machine's own addresses unless ``own``."""
    reason = addresses.refusal(address)
    if reason is None and not own and addresses.is_own(address):
        return "own_address"
    return reason


@dataclass(slots=True)
class Dialler:
    """One for the whole process. ``check`` says why an address is refused.

    Resolving happens in threads; how many of them one sandbox may hold is the caller's to bound.
    """

    limits: Limits
    check: Callable[[str], str | None] | None = None
    _pool: ThreadPoolExecutor = field(default_factory=lambda: ThreadPoolExecutor(_THREADS))

    async def dial(
        self, host: str, port: int, *, resolving: asyncio.Semaphore
    ) -> tuple[Channel, str]:
        """A connection to ``host`` and the address it went to. Raises ``DialError``."""
        found = await self._resolve(host, resolving)
        checked = self._checked(host, found)
        try:
            async with asyncio.timeout(self.limits.connect_seconds):
                return await _first_of(checked, port)
        except TimeoutError as error:
            message = f"{host} did not answer on port {port} in time."
            raise DialError("connect_timeout", message, status=504, address=checked[0]) from error
        except OSError as error:
            message = f"{host} could not be reached on port {port}: {_words(error)}."
            raise DialError("unreachable", message, status=502, address=checked[0]) from error

    async def _resolve(self, host: str, resolving: asyncio.Semaphore) -> list[str]:
        if domains.ip_literal(host) is not None:
            return [host]
        try:
            async with asyncio.timeout(self.limits.resolve_seconds):
                await resolving.acquire()
                return await asyncio.shield(self._looking_up(host, resolving))
        except TimeoutError as error:
            message = f"The name {host} was not resolved in time."
            raise DialError("resolve_timeout", message, status=504) from error
        except OSError as error:
            message = f"The name {host} does not resolve."
            raise DialError("unresolvable", message, status=502) from error

    def _looking_up(self, host: str, place: asyncio.Semaphore) -> asyncio.Future[list[str]]:
        """A thread holds its place until it is done, whether or not anyone still waits for it."""
        future = asyncio.get_running_loop().run_in_executor(self._pool, _lookup, host)

        def done(over: asyncio.Future[list[str]]) -> None:
            place.release()
            if not over.cancelled():
                over.exception()

        future.add_done_callback(done)
        return future

    def _checked(self, host: str, found: Sequence[str]) -> list[str]:
        check = self.check or (lambda text: refusal(text, own=self.limits.own_addresses))
        reasons = {address: check(address) for address in found}
        good = [address for address, reason in reasons.items() if reason is None]
        if good:
            return good[:_ADDRESSES]
        address, reason = next(iter(reasons.items()))
        raise DialError(
            reason or "bad_address",
            f"{host} resolves to {address}, which sandboxes may not reach.",
            status=403,
            denied=True,
            address=address,
        )


def _lookup(host: str) -> list[str]:
    """Addresses, families taking turns, beginning with the one the resolver puts first."""
    rows = socket.getaddrinfo(host.encode(), None, type=socket.SOCK_STREAM)
    found = list(dict.fromkeys(str(row[4][0]) for row in rows))
    six = [address for address in found if ":" in address]
    four = [address for address in found if ":" not in address]
    pairs = zip_longest(six, four) if found and ":" in found[0] else zip_longest(four, six)
    return [address for address in chain.from_iterable(pairs) if address]


async def _first_of(checked: Sequence[str], port: int) -> tuple[Channel, str]:
    """The first connection that stands; the others are given up. Raises the first ``OSError``."""
    waiting: dict[asyncio.Task[socket.socket], str] = {}
    errors: list[OSError] = []
    queue = list(checked)
    try:
        while queue or waiting:
            if queue:
                address = queue.pop(0)
                waiting[asyncio.ensure_future(_connect(address, port))] = address
            stagger = _STAGGER_SECONDS if queue else None
            done, _ = await asyncio.wait(
                waiting, timeout=stagger, return_when=asyncio.FIRST_COMPLETED
            )
            for task in done:
                address = waiting.pop(task)
                error = task.exception()
                if error is None:
                    return await _open(task.result()), address
                if not isinstance(error, OSError):
                    raise error
                errors.append(error)
        raise errors[0]
    finally:
        for task in waiting:
            task.cancel()
            task.add_done_callback(_discard)


async def _connect(address: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        await asyncio.get_running_loop().sock_connect(sock, (address, port))
    except BaseException:
        sock.close()
        raise
    return sock


async def _open(sock: socket.socket) -> Channel:
    loop = asyncio.get_running_loop()
    _, channel = await loop.create_connection(Channel, sock=sock)
    return channel


def _discard(task: asyncio.Task[socket.socket]) -> None:
    if not task.cancelled() and task.exception() is None:
        task.result().close()


def _words(error: OSError) -> str:
    names = {
        errno.ECONNREFUSED: "it refuses connections",
        errno.EHOSTUNREACH: "there is no way to it",
        errno.ENETUNREACH: "there is no way to it",
    }
    return names.get(error.errno or 0, "the connection failed")
