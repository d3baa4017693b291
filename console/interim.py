"""Keeps a client's read timeout from ending a long request whose answer is still being made."""

from __future__ import annotations

import asyncio

from console.asgi_types import App, Message, Receive, Scope, Send

# Under the 30 s after which common clients give up on a silent server. Some accept only five
# interim responses, which is enough for the longest buffered command.
EVERY_SECONDS = 20.0
_EXTENSION = "http.response.informational"


class Interim:
    """Sends `102 Processing` every 20 s until the wrapped application starts its answer."""

    def __init__(self, app: App, *, every_seconds: float = EVERY_SECONDS) -> None:
        self.app = app
        self.every_seconds = every_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if _EXTENSION not in scope.get("extensions", {}):
            await self.app(scope, receive, send)
            return
        reminder = _Reminder(send, every_seconds=self.every_seconds)

        async def send_and_stop(message: Message) -> None:
            reminder.stop()
            await send(message)

        try:
            await self.app(scope, receive, send_and_stop)
        finally:
            reminder.stop()


class _Reminder:
    """A timer rather than a task: nearly every request is answered long before it is due."""

    def __init__(self, send: Send, *, every_seconds: float) -> None:
        self._send = send
        self._every_seconds = every_seconds
        self._task: asyncio.Task[None] | None = None
        self._timer = asyncio.get_running_loop().call_later(every_seconds, self._start)

    def stop(self) -> None:
        self._timer.cancel()
        if self._task is not None:
            self._task.cancel()

    def _start(self) -> None:
        self._task = asyncio.create_task(self._remind())

    async def _remind(self) -> None:
        while True:
            await self._send({"type": _EXTENSION, "status": 102})
            await asyncio.sleep(self._every_seconds)
