"""One websocket as Daphne serves it, with back-pressure in both directions."""

from __future__ import annotations

from typing import Any

from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol

from console.asgi_types import Message, Receive
from console.server_flow import Flow, write_at_once
from console.server_frames import framed

#: How much of a peer's messages may wait for the application before the peer has to wait.
WAITING_BYTES = 1024 * 1024
#: What a message costs beside its bytes, so that empty ones are not for nothing.
_MESSAGE_BYTES = 512


class Intake:
    """Counts messages that have come and not been taken; the peer is not read meanwhile."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._waiting = 0
        self._is_held = False

    def came(self, payload: bytes) -> None:
        self._waiting += len(payload) + _MESSAGE_BYTES
        if self._waiting > WAITING_BYTES and not self._is_held:
            self._is_held = True
            self._transport.pauseProducing()

    def counted(self, receive: Receive) -> Receive:
        """``receive``, noticing what is taken."""

        async def next_message() -> Message:
            message = await receive()
            if message["type"] == "websocket.receive":
                self._took(message)
            return message

        return next_message

    def _took(self, message: Message) -> None:
        content = message.get("bytes") or (message.get("text") or "").encode()
        self._waiting -= len(content) + _MESSAGE_BYTES
        if self._is_held and self._waiting <= WAITING_BYTES // 2:
            self._is_held = False
            self._transport.resumeProducing()


class WebSocketConnection(WebSocketProtocol):  # type: ignore[misc]
    """From its handshake to its close."""

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's names
        super().connectionMade()
        self.flow = Flow(self.transport)
        self.intake = Intake(self.transport)
        # Until now the HTTP channel this connection began as was told about the buffer.
        self.transport.unregisterProducer()
        self.transport.registerProducer(self.flow, True)

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:  # noqa: N802
        if sync or chopsize or self.send_queue:
            super().sendData(data, sync, chopsize)
        else:
            write_at_once(self.transport, data)

    def write(self, payload: bytes) -> bool:
        """``timeline.extensions.WRITE``."""
        if self.state != self.STATE_OPEN or self.send_queue or not self.flow.is_open:
            return False
        write_at_once(self.transport, framed(payload))
        return True

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: N802, N803
        if not self.muted:
            self.intake.came(payload)
        super().onMessage(payload, isBinary)

    def handle_reply(self, message: Message) -> None:
        """Daphne takes an empty message for none."""
        is_empty = not (message.get("text") or message.get("bytes"))
        if message["type"] == "websocket.send" and is_empty:
            self.sendMessage(b"", message.get("bytes") is not None)
        else:
            super().handle_reply(message)

    def connectionLost(self, reason: Any) -> None:  # noqa: N802
        self.flow.stopProducing()
        super().connectionLost(reason)


class ConnectionFactory(WebSocketFactory):  # type: ignore[misc]
    """Makes ``WebSocketConnection``."""

    protocol = WebSocketConnection
