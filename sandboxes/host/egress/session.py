"""One client's connection to the proxy: read a head, judge it, connect, pass bytes both ways."""

from __future__ import annotations

import asyncio
import json
from contextlib import suppress
from typing import TYPE_CHECKING

from sandboxes.host.egress import plain, request
from sandboxes.host.egress.channel import Channel
from sandboxes.host.egress.dial import DialError
from sandboxes.host.egress.records import Connection
from sandboxes.host.egress.relay import pump, read_head
from sandboxes.host.egress.request import Request, RequestError, Target

if TYPE_CHECKING:
    from sandboxes.host.egress.proxy import Gate

BLOCKED = "network_policy_blocked"

_DENIED = 403
_WORDS = {
    400: "Bad Request",
    403: "Forbidden",
    405: "Method Not Allowed",
    408: "Request Timeout",
    431: "Request Header Fields Too Large",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}


def answer(status: int, sentence: str, *, reason: str) -> bytes:
    """A whole response that closes the connection, with an error as the platform's API has it.

    What the policy denies has the ``code`` by which official clients tell it.
    """
    error = {"detail": sentence} | ({"code": BLOCKED} if status == _DENIED else {})
    body = f"{json.dumps(error, ensure_ascii=False)}\n".encode()
    head = (
        f"HTTP/1.1 {status} {_WORDS[status]}\r\n"
        "Content-Type: application/json\r\n"
        f"Content-Length: {len(body)}\r\n"
        f"X-Egress-Reason: {reason}\r\n"
        "Connection: close\r\n\r\n"
    )
    return head.encode() + body


class Session:
    """Lives as long as its connection. ``run`` never raises for what a client or server does."""

    def __init__(self, client: Channel, gate: Gate) -> None:
        self.client = client
        self.gate = gate
        self.limits = gate.limits
        self.connection: Connection | None = None

    async def run(self) -> None:
        """Serve until either side is done."""
        try:
            while await self._serve_one():
                pass
        except (ConnectionError, EOFError):
            self.client.abort()
        finally:
            self.drop()
            self.client.abort()

    async def dial(self, target: Target) -> Connection:
        """A connection to an already judged target. Raises ``DialError``."""
        connection = self.gate.opening(target, self.client)
        self.connection = connection
        try:
            upstream, address = await self.gate.dial(target)
        except DialError as error:
            connection.reason, connection.address = error.reason, error.address
            if error.denied:
                self.connection = None
                self.gate.forget(connection)
                self.gate.denials.add(
                    error.reason, error.message, target=target, address=error.address
                )
            raise
        connection.opened(upstream, address)
        return connection

    def drop(self) -> None:
        """Let the connection go and tell how it went."""
        connection, self.connection = self.connection, None
        if connection is None:
            return
        if connection.upstream is not None:
            connection.upstream.abort()
        self.gate.closed(connection)

    async def _serve_one(self) -> bool:
        """One request. False when the connection is not to be used further."""
        head: Request | None = None
        try:
            head = await self._request()
            if head is None:
                return False
            return await self._judged(head)
        except RequestError as error:
            self._note(error, head)
            await self._refuse(error.status, error.message, reason=error.reason)
        except DialError as error:
            await self._refuse(error.status, error.message, reason=error.reason)
        return False

    def _note(self, error: RequestError, head: Request | None) -> None:
        """A client's fault is a denial; a server's is how an allowed connection ended."""
        if self.connection is not None and error.status >= 500:
            self.connection.reason = error.reason
            return
        self.gate.denials.add(error.reason, error.message, target=head.target if head else None)

    async def _judged(self, head: Request) -> bool:
        target = head.target
        verdict = self.gate.policy.judge(host=target.host, port=target.port, scheme=target.scheme)
        if not verdict.allowed:
            self.gate.denials.add(
                verdict.reason, verdict.detail, target=target, allow=verdict.allow
            )
            await self._refuse(_DENIED, verdict.detail, reason=verdict.reason)
            return False
        if target.scheme == "http":
            return await plain.forward(self, head)
        await self._tunnel(target)
        return False

    async def _request(self) -> Request | None:
        """The next request, ``None`` when the client is gone or never spoke."""
        first = self.client.received == 0
        try:
            async with asyncio.timeout(
                self.limits.head_seconds if first else self.limits.keep_seconds
            ):
                if not await self.client.more():
                    return None
        except TimeoutError:
            return None
        try:
            async with asyncio.timeout(self.limits.head_seconds):
                head = await read_head(self.client)
        except TimeoutError as error:
            raise RequestError(
                "The request took too long to arrive.", status=408, reason="slow_head"
            ) from error
        return request.parse_request(head)

    async def _tunnel(self, target: Target) -> None:
        connection = await self.dial(target)
        upstream = connection.upstream
        if upstream is None:
            return
        await self.client.write(b"HTTP/1.1 200 Connection Established\r\n\r\n")
        down = asyncio.ensure_future(pump(upstream, self.client))
        try:
            await pump(self.client, upstream)
            await down
            await asyncio.gather(upstream.close(), self.client.close())
        finally:
            down.cancel()

    async def _refuse(self, status: int, sentence: str, *, reason: str) -> None:
        """Say no so that it is read. Nothing is left to wait for afterwards."""
        self.drop()
        with suppress(ConnectionError):
            await self.client.write(answer(status, sentence, reason=reason))
            await self.client.finish()
