"""One painter for each account that somebody looks at; its viewers share every frame.

A round begins once a second at most, and takes a tenth of a processor at most: a wall that is dear
to paint is painted less often. With nobody looking nothing is read.
"""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Final
from weakref import WeakKeyDictionary

from django.db import Error as DatabaseError

from accounts.database import in_database
from console.shared import Shared, Sharing
from console.wall.picture import Painter, Picture

ROUND_SECONDS: Final = 1.0
SHARE: Final = 0.1
BEAT_SECONDS: Final = 10.0
BEAT: Final = '{"t":"beat"}'
BEHIND: Final = '{"t":"behind"}'

log = logging.getLogger(__name__)


class Wall(Shared):
    """An account's, painted while it has viewers."""

    def __init__(self, account_id: str) -> None:
        super().__init__()
        self._painter = Painter(account_id)
        self._worked = 0.0  # seconds of processor that the last round took here

    @property
    def version(self) -> int:
        """Of the newest picture."""
        return self._painter.picture.version

    def render(self) -> tuple[int, str]:
        """Every row."""
        picture = self._painter.picture
        return picture.version, picture.frame()

    async def run(self) -> None:
        """Round after round, with a beat when nothing changed for a while."""
        told_at = time.monotonic()
        while True:
            began = time.monotonic()
            frame, version = await self._round()
            took = time.monotonic() - began
            rest = max(ROUND_SECONDS - took, took, self._worked * (1 / SHARE - 1))
            if frame is None and time.monotonic() - told_at >= BEAT_SECONDS:
                frame, version = BEAT, None
            if frame is not None:
                told_at = time.monotonic()
                self.tell(frame, version)
            await asyncio.sleep(rest)

    async def _round(self) -> tuple[str | None, int | None]:
        """What changed, if anything, and the version that it leads to."""
        before = self._painter.picture
        try:
            return await in_database(self._paint, before)
        except DatabaseError as error:
            log.warning("A fleet wall waits for PostgreSQL: %s", str(error).strip())
        except Exception:
            log.exception("A fleet wall could not be painted")
        return BEHIND, None

    def _paint(self, before: Picture) -> tuple[str | None, int]:
        began = time.thread_time()
        try:
            picture = self._painter.paint()
            return picture.frame_since(before), picture.version
        finally:
            self._worked = time.thread_time() - began


class Walls(Sharing[str]):
    """All walls of a process, by account."""

    def __init__(self) -> None:
        super().__init__(Wall)


_walls: WeakKeyDictionary[asyncio.AbstractEventLoop, Walls] = WeakKeyDictionary()


def get_walls() -> Walls:
    """Those of the running event loop: one for each ASGI process."""
    loop = asyncio.get_running_loop()
    if loop not in _walls:
        _walls[loop] = Walls()
    return _walls[loop]
