"""A visitor's websocket, and the one to the server in the sandbox, message by message."""

from __future__ import annotations

import asyncio
import socket
from contextlib import suppress
from typing import Final

from websockets.asyncio.client import ClientConnection
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosed, WebSocketException
from websockets.typing import Origin, Subprotocol
from websockets.uri import parse_uri

from console.asgi_types import Message, Receive, Scope, Send
from console.preview import headers
from sandboxes.host.types import HostError

#: Under what console/server.py gives a browser for the whole handshake.
_HANDSHAKE_SECONDS: Final = 4.0
#: As large as the console's own server takes one.
MESSAGE_BYTES: Final = 1024 * 1024
#: Messages of the sandbox that wait in the process for a slow visitor.
_WAITING: Final = 4
_GOING_AWAY: Final = 1001
_NORMAL: Final = 1000
#: Codes that a server may close with; others are not for the wire.
_PRIVATE: Final = range(3000, 5000)


async def relay(
    scope: Scope, receive: Receive, send: Send, sock: socket.socket, *, query: bytes
) -> None:
    """Until either side closes. Raises ``HostError`` (bad_answer) before the visitor's is open."""
    server = await _opened(scope, sock, query)
    try:
        await send({"type": "websocket.accept", "subprotocol": server.subprotocol})
        down = asyncio.ensure_future(_down(server, send))
        up = asyncio.ensure_future(_up(receive, server))
        try:
            await asyncio.wait({down, up}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in (down, up):
                task.cancel()
            await asyncio.gather(down, up, return_exceptions=True)
        if not up.done() or up.cancelled():
            await send({"type": "websocket.close", "code": _code(server)})
    finally:
        with suppress(OSError, WebSocketException):
            await server.close(_GOING_AWAY)


async def _opened(scope: Scope, sock: socket.socket, query: bytes) -> ClientConnection:
    """No redirect is followed: it would lead this server wherever a sandbox wants."""
    host, path = headers.host_of(scope).decode("latin1"), scope["raw_path"].decode("latin1")
    target = f"{path}?{query.decode('latin1')}" if query else path
    origin = next((value for name, value in scope["headers"] if name == b"origin"), None)
    protocol = ClientProtocol(
        parse_uri(f"ws://{host}{target}"),
        origin=Origin(origin.decode("latin1")) if origin else None,
        subprotocols=[Subprotocol(name) for name in scope["subprotocols"]] or None,
        max_size=MESSAGE_BYTES,
    )

    def connection() -> ClientConnection:
        return ClientConnection(protocol, ping_interval=None, close_timeout=2, max_queue=_WAITING)

    _, server = await asyncio.get_running_loop().create_connection(connection, sock=sock)
    try:
        async with asyncio.timeout(_HANDSHAKE_SECONDS):
            await server.handshake(_fields(scope), user_agent_header=None)
    except (OSError, TimeoutError, WebSocketException, ValueError) as error:
        server.transport.abort()
        message = f"What listens on the port opened no websocket: {error}."
        raise HostError("bad_answer", message[:500]) from error
    return server


def _fields(scope: Scope) -> list[tuple[str, str]]:
    """What the handshake makes by itself is left to it."""
    pairs = [*headers.passed_on(scope), *headers.told(scope)]
    return [
        (name.decode("latin1"), value.decode("latin1"))
        for name, value in pairs
        if name != b"origin" and not name.startswith(b"sec-websocket-")
    ]


async def _down(server: ClientConnection, send: Send) -> None:
    with suppress(ConnectionClosed):
        while True:
            message = await server.recv()
            kind = "text" if isinstance(message, str) else "bytes"
            await send({"type": "websocket.send", kind: message})


async def _up(receive: Receive, server: ClientConnection) -> None:
    """Ends when the visitor has left, or with the server."""
    while (message := await receive())["type"] == "websocket.receive":
        try:
            await server.send(_content(message))
        except ConnectionClosed:
            await asyncio.Event().wait()  # the other direction ends it


def _content(message: Message) -> str | bytes:
    text: str | None = message.get("text")
    return text if text is not None else message.get("bytes", b"")


def _code(server: ClientConnection) -> int:
    code = server.close_code
    return code if code is not None and code in _PRIVATE else _NORMAL
