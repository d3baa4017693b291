"""The timeline's websocket: who may watch, and the little a viewer says."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections.abc import Mapping
from typing import Any, ClassVar, Final
from urllib.parse import parse_qs

import orjson
from channels.generic.websocket import AsyncWebsocketConsumer
from django.db import Error as DatabaseError

from timeline.extensions import WRITE
from timeline.frames import frame
from timeline.hub import get_hub
from timeline.viewer import Viewer

CONTROL_GROUP: Final = "control"
MALFORMED: Final = 4400
ENDED: Final = 4401
NOT_FOUND: Final = 4404
RECHECK_SECONDS: Final = 20.0
_LONGEST_MESSAGE: Final = 256
_MOST_DIGITS: Final = 18

log = logging.getLogger(__name__)


class TimelineConsumer(AsyncWebsocketConsumer):  # type: ignore[misc]  # Channels ships no types
    """``…/<sandbox_id>/timeline/?after=<seq>``. Subclasses say who may watch, and until when."""

    groups: ClassVar[list[str]] = [CONTROL_GROUP]
    sandbox_id: str
    _viewer: Viewer | None = None
    _serving: asyncio.Task[None] | None = None
    _checking: asyncio.Task[None] | None = None

    async def authorize(self, sandbox_id: str) -> bool:
        """Whether this socket may watch; a no looks like a sandbox that does not exist."""
        raise NotImplementedError

    async def ended_by(self, message: Mapping[str, Any]) -> str | None:
        """Whether a control message ends this socket, and the ``bye`` code if it does.

        ``message["type"]`` is ``token.revoked``, ``session.ended``, ``member.changed`` or
        one this console does not know yet.
        """
        return None

    async def connect(self) -> None:
        """Accept first, so that a refusal reaches the page as a code it can read."""
        self.sandbox_id = self.scope["url_route"]["kwargs"]["sandbox_id"]
        await self.accept()
        after = _after(self.scope.get("query_string", b""))
        if after is None:
            await self._end("malformed", MALFORMED)
        elif not await self.authorize(self.sandbox_id):
            await self._end("not_found", NOT_FOUND)
        else:
            self._serving = asyncio.create_task(self._serve(after))
            self._checking = asyncio.create_task(self._recheck())

    async def disconnect(self, code: int) -> None:
        """The socket is gone, whoever closed it."""
        for task in (self._checking, self._serving):
            if task is not None:
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task

    async def dispatch(self, message: Mapping[str, Any]) -> None:
        """Websocket messages go where Channels sends them; all others are control messages.

        Acknowledgements are many and touch no database: they are spared the hop to another thread
        with which Channels tidies up connections before every message.
        """
        if message["type"] == "websocket.receive":
            await self.websocket_receive(message)
        elif message["type"].startswith("websocket."):
            await super().dispatch(message)
        elif (code := await self.ended_by(message)) is not None:
            await self._end(code, ENDED)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        """``{"t":"ack","bytes":<received in all>}`` and nothing else."""
        units = _acknowledged(text_data)
        if units is None or self._viewer is None or not self._viewer.acknowledge(units):
            await self._end("malformed", MALFORMED)

    async def _serve(self, after: int) -> None:
        try:
            with get_hub().subscribe(self.sandbox_id) as subscription:
                self._viewer = Viewer(
                    sandbox_id=self.sandbox_id,
                    held=after,
                    subscription=subscription,
                    send=self.send,
                    write=self.scope.get("extensions", {}).get(WRITE),
                )
                await self._viewer.run()
        except Exception:
            log.exception("The timeline of %s ended; its viewer comes back", self.sandbox_id)
            await self.close(1011)

    async def _recheck(self) -> None:
        """Control messages are hints: a session that ran out or a right that was taken away ends
        this socket though nobody said so."""
        while True:
            await asyncio.sleep(RECHECK_SECONDS * random.uniform(0.8, 1.2))  # noqa: S311
            try:
                allowed = await self.authorize(self.sandbox_id)
            except DatabaseError as error:
                log.warning("Who watches is checked later: %s", str(error).strip())
                continue
            if not allowed:
                await self._end("ended", ENDED)
                return

    @property
    def is_serving(self) -> bool:
        """Whether whoever opened this socket was let in."""
        return self._serving is not None

    async def end(self, why: str) -> None:
        """Whoever watches may not any longer; ``why`` is the code of the ``bye``."""
        await self._end(why, ENDED)

    async def _end(self, why: str, code: int) -> None:
        if self._serving is not None:
            self._serving.cancel()
        await self.send(frame("bye", code=why))
        await self.close(code)


def _after(query: bytes) -> int | None:
    """The ``seq`` the viewer has; 0 when it does not say, None for what is no ``seq``."""
    values = parse_qs(query.decode("latin-1"), keep_blank_values=True).get("after", ["0"])
    text = values[-1]
    if not (text.isascii() and text.isdecimal()) or len(text) > _MOST_DIGITS:
        return None
    return int(text)


def _acknowledged(text: str | None) -> int | None:
    if text is None or len(text) > _LONGEST_MESSAGE:
        return None
    try:
        message = orjson.loads(text)
    except ValueError:
        return None
    if not isinstance(message, dict) or message.get("t") != "ack":
        return None
    units = message.get("bytes")
    return units if type(units) is int and units >= 0 else None
