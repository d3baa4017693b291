"""One painter for each account that somebody looks at; its viewers share every frame.

A round begins once a second at most, and takes a tenth of a processor at most: a wall that is dear
to paint is painted less often. With nobody looking nothing is read.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Final
from weakref import WeakKeyDictionary

from django.db import Error as DatabaseError

from accounts.database import in_database
from console.wall.picture import Painter, Picture

ROUND_SECONDS: Final = 1.0
SHARE: Final = 0.1
BEAT_SECONDS: Final = 10.0
BEAT: Final = '{"t":"beat"}'
BEHIND: Final = '{"t":"behind"}'

log = logging.getLogger(__name__)


class Viewer:
    """One page's place for the next frame. Who did not take one in time gets the whole wall."""

    def __init__(self, wall: Wall) -> None:
        self._wall = wall
        self._next: str | None = None
        self._whole = True
        self._stirred = asyncio.Event()
        if wall.picture.version:
            self._stirred.set()

    def offer(self, frame: str) -> None:
        """The next frame, for all viewers the same text."""
        if self._next is not None:
            self._whole = True
        self._next = frame
        self._stirred.set()

    async def next(self) -> str:
        """What to send next."""
        await self._stirred.wait()
        self._stirred.clear()
        frame, self._next = self._next, None
        if frame is not None and (not self._whole or not self._wall.picture.version):
            return frame
        self._whole = False
        return await self._wall.whole()


class Wall:
    """An account's, painted while it has viewers."""

    def __init__(self, account_id: str) -> None:
        self._painter = Painter(account_id)
        self._viewers: set[Viewer] = set()
        self._task: asyncio.Task[None] | None = None
        self._whole: tuple[int, str] = (0, "")
        self._lock = asyncio.Lock()
        self._worked = 0.0  # seconds of processor that the last round took here

    @property
    def picture(self) -> Picture:
        """The newest."""
        return self._painter.picture

    @property
    def is_watched(self) -> bool:
        """Whether anybody looks."""
        return bool(self._viewers)

    async def whole(self) -> str:
        """All of it as a frame, rendered once for however many ask."""
        async with self._lock:
            picture = self.picture
            if self._whole[0] != picture.version:
                self._whole = (picture.version, await in_database(picture.frame))
            return self._whole[1]

    def add(self, viewer: Viewer) -> None:
        self._viewers.add(viewer)
        if self._task is None:
            # A context of its own: it outlives the viewer who happened to be first.
            self._task = asyncio.create_task(self._run(), context=Context())

    def remove(self, viewer: Viewer) -> None:
        self._viewers.discard(viewer)
        if not self._viewers and self._task is not None:
            self._task.cancel()
            self._task = None

    async def _run(self) -> None:
        told_at = time.monotonic()
        while True:
            began = time.monotonic()
            frame = await self._round()
            took = time.monotonic() - began
            rest = max(ROUND_SECONDS - took, took, self._worked * (1 / SHARE - 1))
            if frame is None and time.monotonic() - told_at >= BEAT_SECONDS:
                frame = BEAT
            if frame is not None:
                told_at = time.monotonic()
                for viewer in self._viewers:
                    viewer.offer(frame)
            await asyncio.sleep(rest)

    async def _round(self) -> str | None:
        before = self.picture
        try:
            return await in_database(self._paint, before)
        except DatabaseError as error:
            log.warning("A fleet wall waits for PostgreSQL: %s", str(error).strip())
        except Exception:
            log.exception("A fleet wall could not be painted")
        return BEHIND

    def _paint(self, before: Picture) -> str | None:
        began = time.thread_time()
        try:
            return self._painter.paint().frame_since(before)
        finally:
            self._worked = time.thread_time() - began


class Walls:
    """All walls of a process."""

    def __init__(self) -> None:
        self._walls: dict[str, Wall] = {}

    @property
    def is_watching(self) -> bool:
        """Whether any wall is kept current."""
        return bool(self._walls)

    @contextmanager
    def watch(self, account_id: str) -> Iterator[Viewer]:
        """A viewer of that account's wall, whose first frame is all of it."""
        wall = self._walls.setdefault(account_id, Wall(account_id))
        viewer = Viewer(wall)
        wall.add(viewer)
        try:
            yield viewer
        finally:
            wall.remove(viewer)
            if not wall.is_watched:
                self._walls.pop(account_id, None)


_walls: WeakKeyDictionary[asyncio.AbstractEventLoop, Walls] = WeakKeyDictionary()


def get_walls() -> Walls:
    """Those of the running event loop: one for each ASGI process."""
    loop = asyncio.get_running_loop()
    if loop not in _walls:
        _walls[loop] = Walls()
    return _walls[loop]
