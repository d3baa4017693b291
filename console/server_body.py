"""A request's body that goes to the application as it arrives, at the application's pace."""

from __future__ import annotations

import asyncio
from typing import Any, Final

from console.asgi_types import App, Message, Receive, Scope, Send

#: How much may wait for the application before the peer has to wait instead.
WAITING_BYTES: Final = 512 * 1024
KEY: Final = "console.body"
"""Where a request's scope holds its ``Body``, until ``metered`` takes it out."""


class StandIn:
    """What Daphne finds where it keeps a body that has arrived whole: nothing to pass on."""

    closed = True

    def seek(self, offset: int, whence: int = 0) -> None:
        """There is nowhere to go."""

    def close(self) -> None:
        """It always is."""


class Body:
    """Counts what has come and not been taken, and has the channel stop reading meanwhile."""

    def __init__(self, channel: Any) -> None:
        self._channel = channel
        self._waiting = 0
        self._is_held = False
        self._is_dropped = False

    def feed(self, queue: asyncio.Queue[Message] | None, data: bytes) -> None:
        """The next bytes, for the application behind ``queue``."""
        if queue is None or self._is_dropped:
            return
        queue.put_nowait({"type": "http.request", "body": data, "more_body": True})
        self._waiting += len(data)
        if self._waiting > WAITING_BYTES and not self._is_held:
            self._is_held = True
            self._channel.setTimeout(None)  # the silence is ours
            self._channel._networkProducer.pauseProducing()

    def end(self, queue: asyncio.Queue[Message] | None) -> None:
        """All has come."""
        if queue is not None and not self._is_dropped:
            queue.put_nowait({"type": "http.request", "body": b"", "more_body": False})

    def drop(self) -> None:
        """The application has answered without it: what still comes is thrown away."""
        self._is_dropped = True
        self._waiting = 0
        self._read_on()

    def counted(self, receive: Receive) -> Receive:
        """``receive``, noticing what is taken."""

        async def next_message() -> Message:
            message = await receive()
            self._waiting -= len(message.get("body", b""))
            if self._waiting <= WAITING_BYTES // 2:
                self._read_on()
            return message

        return next_message

    def _read_on(self) -> None:
        if self._is_held:
            self._is_held = False
            self._channel.setTimeout(self._channel.timeOut)
            self._channel._networkProducer.resumeProducing()


def metered(app: App) -> App:
    """``app`` behind a server that puts a ``Body`` into the scope of some requests."""

    async def run(scope: Scope, receive: Receive, send: Send) -> None:
        body: Body | None = scope.pop(KEY, None)
        await app(scope, receive if body is None else body.counted(receive), send)

    return run
