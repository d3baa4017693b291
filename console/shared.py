"""What many pages show alike: read and rendered once, told to all who look in the same bytes."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import Context
from typing import Generic, TypeVar

from accounts.database import in_database

K = TypeVar("K", bound=Hashable)


class Viewer:
    """One page's place for the next frame. Who did not take one in time gets all of it."""

    def __init__(self, shared: Shared) -> None:
        self._shared = shared
        self._next: tuple[int | None, str] | None = None
        self._behind = True
        self._has = 0
        self._stirred = asyncio.Event()
        if shared.version:
            self._stirred.set()

    def offer(self, frame: str, version: int | None) -> None:
        """The next frame, for all viewers the same text; ``version`` is what it leads to."""
        if self._next is not None:
            self._behind = True
        self._next = version, frame
        self._stirred.set()

    async def next(self) -> str:
        """What to send next."""
        while True:
            await self._stirred.wait()
            self._stirred.clear()
            offered, self._next = self._next, None
            if self._behind and self._shared.version:
                self._behind = False
                self._has, whole = await self._shared.whole()
                return whole
            if offered is None:
                continue
            version, frame = offered
            if version is None or version > self._has:
                self._has = version or self._has
                return frame


class Shared(ABC):
    """What some viewers look at; kept current by a task while there are any."""

    def __init__(self) -> None:
        self._viewers: set[Viewer] = set()
        self._task: asyncio.Task[None] | None = None
        self._whole: tuple[int, str] = (0, "")
        self._lock = asyncio.Lock()

    @property
    @abstractmethod
    def version(self) -> int:
        """Of what there is to see; 0 before the first."""

    @abstractmethod
    def render(self) -> tuple[int, str]:
        """All of it as a frame, with its version; called in a thread of the database's."""

    @abstractmethod
    async def run(self) -> None:
        """Keep it current and ``tell`` what changed, until cancelled."""

    @property
    def is_watched(self) -> bool:
        """Whether anybody looks."""
        return bool(self._viewers)

    async def whole(self) -> tuple[int, str]:
        """All of it, rendered once for however many ask."""
        async with self._lock:
            if self._whole[0] != self.version:
                self._whole = await in_database(self.render)
            return self._whole

    def tell(self, frame: str, version: int | None = None) -> None:
        """To everybody. Without a ``version`` it says nothing of what there is to see."""
        for viewer in self._viewers:
            viewer.offer(frame, version)

    def add(self, viewer: Viewer) -> None:
        self._viewers.add(viewer)
        if self._task is None:
            # A context of its own: it outlives the viewer who happened to be first.
            self._task = asyncio.create_task(self.run(), context=Context())

    def remove(self, viewer: Viewer) -> None:
        self._viewers.discard(viewer)
        if not self._viewers and self._task is not None:
            self._task.cancel()
            self._task = None


class Sharing(Generic[K]):
    """All that a process shares of one sort, by what is looked at."""

    def __init__(self, make: Callable[[K], Shared]) -> None:
        self._make = make
        self._all: dict[K, Shared] = {}

    @property
    def is_watching(self) -> bool:
        """Whether anything is kept current."""
        return bool(self._all)

    @contextmanager
    def watch(self, key: K) -> Iterator[Viewer]:
        """A viewer of it, whose first frame is all of it."""
        shared = self._all.get(key)
        if shared is None:
            shared = self._all[key] = self._make(key)
        viewer = Viewer(shared)
        shared.add(viewer)
        try:
            yield viewer
        finally:
            shared.remove(viewer)
            if not shared.is_watched:
                self._all.pop(key, None)
