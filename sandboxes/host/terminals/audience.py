"""Who is at a terminal: any number who watch, and one of them who drives.

Each watcher has a place in the screen's output and a window of bytes that it may be behind with.
Nothing is queued for a watcher: one that falls behind further than the screen keeps gets the screen
as it is, so that a slow reader costs neither memory nor anybody else's time.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final

from sandboxes.host.terminals.screen import Screen
from sandboxes.host.terminals.types import WINDOW, Visitor
from sandboxes.host.types import HostError
from timeline.events import Actor

#: How long a driver who is gone (a page that is loaded again) keeps the wheel.
HELD_SECONDS: Final = 15.0
WATCHERS: Final = 256
#: Lots of keys that are given back; more are too many for anybody to have typed.
REFUSED: Final = 64
#: Bytes in one frame to a watcher.
CHUNK: Final = 16 * 1024
#: How long what was sent may wait to be shown, in seconds, and the window of the slowest page.
DELAY: Final = 0.06
LEAST_WINDOW: Final = 4 * 1024
#: By how much the shortest way to a page is taken to have grown with each word of it, in seconds.
DRIFT: Final = 1e-5


class Pace:
    """How far a page may be behind: by what it shows within ``DELAY``, as its own words tell.

    So what Ctrl-C has to wait for takes as long on a busy machine as on an idle one. What the way
    there and back takes by itself does not count: a page that is far away is not a slow one.
    """

    def __init__(self) -> None:
        self.window = WINDOW
        self._sent: deque[tuple[int, float]] = deque()
        self._least = 1.0

    def sent(self, total: int) -> None:
        """So many bytes are on their way or shown, from now on."""
        self._sent.append((total, time.monotonic()))

    def shown(self, total: int) -> None:
        """So many of them have been shown."""
        since = None
        while self._sent and self._sent[0][0] <= total:
            since = self._sent.popleft()[1]
        if since is None:
            return
        waited = time.monotonic() - since
        self._least = min(self._least + DRIFT, waited)
        waited -= self._least
        grown = self.window + CHUNK // 4
        fits = self.window * DELAY / waited if waited > DELAY else grown
        self.window = int(min(WINDOW, grown, max(LEAST_WINDOW, self.window / 2, fits)))


Send = Callable[[Mapping[str, Any], bytes], Awaitable[None]]


class Watcher:
    """One who is at a terminal. ``send`` puts one frame on its way."""

    def __init__(self, visitor: Visitor, screen: Screen, send: Send) -> None:
        self.visitor = visitor
        self.screen = screen
        self.at = screen.end
        self.behind = False
        self.typed = 0
        self._send = send
        self._news: dict[str, Mapping[str, Any]] = {}
        self._refused: list[tuple[Mapping[str, Any], bytes]] = []
        self._sent = 0
        self._acknowledged = 0
        self.pace = Pace()
        self._wake = asyncio.Event()
        self.moved = asyncio.Event()

    @property
    def actor(self) -> Actor:
        return self.visitor.actor

    def acknowledge(self, count: int) -> None:
        """So many bytes of output have been shown in all. Raises ``HostError`` for a lie."""
        if not self._acknowledged <= count <= self._sent:
            raise HostError("invalid", "More was acknowledged than was sent; connect again.")
        self._acknowledged = count
        self.pace.shown(count)
        self.behind = False
        self.moved.set()
        self._wake.set()

    def tell(self, kind: str, **fields: Any) -> None:
        """Sends a short word, in front of whatever output waits; a newer one takes its place."""
        self._news[kind] = {"kind": kind, **fields}
        self._wake.set()

    def refuse(self, keys: bytes, *, code: str, message: str) -> None:
        """Gives keys back, in their order, that cannot be typed now."""
        self._refused.append(({"kind": "refused", "code": code, "message": message}, keys))
        del self._refused[REFUSED:]
        self._wake.set()

    def more(self) -> None:
        """There is more output on the screen."""
        self._wake.set()

    async def run(self) -> None:
        """Until it has been told that the terminal is closed, or is cancelled."""
        await self._begin(skipped=0)
        while True:
            self._wake.clear()
            closed = self._news.pop("closed", None)
            for kind in tuple(self._news):
                await self._send(self._news.pop(kind), b"")
            while self._refused:
                await self._send(*self._refused.pop(0))
            await self._catch_up()
            if closed is not None and self.at >= self.screen.end:
                await self._send(closed, b"")
                return
            if closed is not None:
                self._news["closed"] = closed
            if not self._wake.is_set():
                await self._wake.wait()

    async def _begin(self, *, skipped: int) -> None:
        self.at = self.screen.start
        beginning = self.screen.beginning()
        self._sent += len(beginning)
        await self._send({"kind": "screen", "skipped": skipped}, beginning)

    async def _catch_up(self) -> None:
        while self.at < self.screen.end and self._sent - self._acknowledged < self.pace.window:
            if self.at < self.screen.start:
                await self._begin(skipped=self.screen.start - self.at)
            data = self.screen.read(self.at, min(CHUNK, self.pace.window // 2))
            self.at += len(data)
            self._sent += len(data)
            self.pace.sent(self._sent)
            await self._send({"kind": "output"}, data)
        self.moved.set()


class Audience:
    """All who are at one terminal."""

    def __init__(self) -> None:
        self.watchers: list[Watcher] = []
        self.driver: Watcher | None = None
        self._held: Visitor | None = None
        self._held_until = 0.0

    @property
    def names(self) -> list[str]:
        """Of everybody who is there, each once."""
        return list(dict.fromkeys(watcher.actor.name for watcher in self.watchers))

    @property
    def driving(self) -> Actor | None:
        """Who drives, or who just left and may come back; None when nobody does."""
        if self.driver is not None:
            return self.driver.actor
        return self._held.actor if self._held and self._is_held() else None

    @property
    def driver_name(self) -> str:
        """Of who is ``driving``; empty when nobody does."""
        return self.driving.name if self.driving else ""

    def hold(self, visitor: Visitor | None) -> None:
        """Keeps the wheel for somebody who has gone away; any page of theirs has it back."""
        self._held, self._held_until = visitor, time.monotonic() + HELD_SECONDS

    def _is_held(self) -> bool:
        return self._held is not None and time.monotonic() < self._held_until

    def enter(self, watcher: Watcher) -> bool:
        """Whether the newcomer drives and did not before. Raises ``HostError`` (busy)."""
        if len(self.watchers) >= WATCHERS:
            raise HostError("busy", "Too many people watch this terminal; try again later.")
        self.watchers.append(watcher)
        visitor = watcher.visitor
        if self.driver is not None and _same(self.driver.visitor, visitor):
            self.driver = watcher  # the same page, before it was noticed that it had gone
            return False
        if not visitor.drives or self.driver is not None:
            return False
        if self._held is not None and self._held.actor.id != visitor.actor.id and self._is_held():
            return False
        before, self._held = self._held, None
        self.driver = watcher
        return before is None or before.actor.id != visitor.actor.id

    def leave(self, watcher: Watcher) -> None:
        """It is gone. A driver's place is kept for a moment."""
        if watcher in self.watchers:
            self.watchers.remove(watcher)
        if self.driver is watcher:
            self.driver = None
            self.hold(watcher.visitor)

    def take_over(self, watcher: Watcher) -> str:
        """Who drove before. Raises ``HostError`` (not_permitted)."""
        if not watcher.visitor.drives:
            raise HostError("not_permitted", "Your role lets you watch, not type. Ask an owner.")
        before = self.driver_name
        self.driver, self._held = watcher, None
        return before

    def tell(self, kind: str, **fields: Any) -> None:
        for watcher in self.watchers:
            watcher.tell(kind, **fields)

    def tell_people(self) -> None:
        """Who drives and who watches, to each as it concerns them."""
        people = [{"name": each.actor.name, "id": each.actor.id} for each in self.watchers]
        driving = self.driving
        for watcher in self.watchers:
            watcher.tell(
                "people",
                driver=driving.name if driving else "",
                away=self.driver is None,
                you=watcher is self.driver,
                yours=driving is not None and driving.id == watcher.actor.id,
                watching=people,
            )


def _same(one: Visitor, other: Visitor) -> bool:
    return bool(one.seat) and one.seat == other.seat and one.actor.id == other.actor.id
