"""One websocket as Daphne serves it, with back-pressure."""

from __future__ import annotations

from typing import Any

from daphne.ws_protocol import WebSocketFactory, WebSocketProtocol

from console.server_flow import Flow


class WebSocketConnection(WebSocketProtocol):  # type: ignore[misc]
    """From its handshake to its close."""

    def connectionMade(self) -> None:  # noqa: N802 - Twisted's names
        super().connectionMade()
        self.flow = Flow(self.transport)
        # Until now the HTTP channel this connection began as was told about the buffer.
        self.transport.unregisterProducer()
        self.transport.registerProducer(self.flow, True)

    def connectionLost(self, reason: Any) -> None:  # noqa: N802
        self.flow.stopProducing()
        super().connectionLost(reason)


class ConnectionFactory(WebSocketFactory):  # type: ignore[misc]
    """Makes ``WebSocketConnection``."""

    protocol = WebSocketConnection
