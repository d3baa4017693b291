"""One painter for each view of the list that somebody has open; who sees the same shares frames.

A round follows a change after a moment in which more are gathered, a longer one where painting
takes long. Every few seconds it looks anyway: a message that was lost is made up for.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from weakref import WeakKeyDictionary

from channels.layers import get_channel_layer
from django.db import Error as DatabaseError
from redis.exceptions import RedisError

from accounts.announce import account_group
from accounts.database import in_database
from console.lists.picture import ListPainter, View
from console.shared import Shared, Sharing

SETTLE_SECONDS: Final = 0.25
LOOK_SECONDS: Final = 10.0
#: Of a processor, by the clock: painting takes no more of a thread than this.
SHARE: Final = 0.1
_AGAIN_SECONDS: Final = 1.0

log = logging.getLogger(__name__)


class LiveList(Shared):
    """One view, painted while somebody has it open."""

    def __init__(self, view: View) -> None:
        super().__init__()
        self._account_id = view.account_id
        self._painter = ListPainter(view)

    @property
    def version(self) -> int:
        """Of the newest picture."""
        return self._painter.picture.version

    def render(self) -> tuple[int, str]:
        """Every row."""
        picture = self._painter.picture
        return picture.version, picture.whole()

    async def run(self) -> None:
        """Paint when something changed; a Redis that is away makes it look more often."""
        while True:
            try:
                async with _changes_of(self._account_id) as changed:
                    while True:
                        await self._round(changed)
            except (OSError, RedisError) as error:
                log.warning("A list hears of no change, Redis is away: %s", error)
                await self._round(asyncio.Event(), look_seconds=_AGAIN_SECONDS)

    async def _round(self, changed: asyncio.Event, look_seconds: float = LOOK_SECONDS) -> None:
        changed.clear()
        began = time.monotonic()
        try:
            frame, version = await in_database(self._paint)
        except DatabaseError as error:
            log.warning("A list waits for PostgreSQL: %s", str(error).strip())
            await asyncio.sleep(_AGAIN_SECONDS)
            return
        took = time.monotonic() - began
        if frame is not None:
            self.tell(frame, version)
        try:
            async with asyncio.timeout(look_seconds):
                await changed.wait()
        except TimeoutError:
            return
        await asyncio.sleep(max(SETTLE_SECONDS, took * (1 / SHARE - 1)))

    def _paint(self) -> tuple[str | None, int]:
        before = self._painter.picture
        picture = self._painter.paint()
        # Nobody has anything before the first: all get all of it, which is rendered then.
        return picture.frame_since(before) if before.version else "", picture.version


@asynccontextmanager
async def _changes_of(account_id: str) -> AsyncIterator[asyncio.Event]:
    """Set whenever ``accounts.announce`` says that a sandbox of the account is not what it was."""
    layer = get_channel_layer()
    group, channel = account_group(account_id), await layer.new_channel()
    changed = asyncio.Event()
    hearing = asyncio.create_task(_hear(channel, changed))
    try:
        await layer.group_add(group, channel)
        yield changed
    finally:
        hearing.cancel()
        await layer.group_discard(group, channel)


async def _hear(channel: str, changed: asyncio.Event) -> None:
    layer = get_channel_layer()
    while True:
        message = await layer.receive(channel)
        if message["type"] == "sandbox.changed":
            changed.set()


class Lists(Sharing[View]):
    """All lists of a process, by what they show."""

    def __init__(self) -> None:
        super().__init__(LiveList)


_lists: WeakKeyDictionary[asyncio.AbstractEventLoop, Lists] = WeakKeyDictionary()


def get_lists() -> Lists:
    """Those of the running event loop: one for each ASGI process."""
    loop = asyncio.get_running_loop()
    if loop not in _lists:
        _lists[loop] = Lists()
    return _lists[loop]
