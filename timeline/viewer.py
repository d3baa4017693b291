"""One open timeline: backfill, then live; ordered, gapless, never more than a viewer can take."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

from django.db import Error as DatabaseError

from timeline import metrics
from timeline.frames import Rows, frame
from timeline.hub import Subscription
from timeline.pages import heads, rows_after

UNACKNOWLEDGED_UNITS: Final = 256 * 1024
SKIP_EVENTS: Final = 2000
KEEP_EVENTS: Final = 200
_PAGE: Final = 100
_LONGEST_PAUSE: Final = 2.0

T = TypeVar("T")

log = logging.getLogger(__name__)


class Viewer:
    """Sends one sandbox's rows to one socket.

    ``held`` is the last ``seq`` the viewer has. Lengths are counted as the browser counts them,
    and so are its acknowledgements; at 256 KiB without one, sending stops until one comes, and
    what was missed is read from PostgreSQL. ``write`` sends without waiting, where the server can
    (``timeline.extensions``). More than 2 000 events behind, all but the newest 200
    are skipped, with a frame that says so.
    """

    def __init__(
        self,
        *,
        sandbox_id: str,
        held: int,
        subscription: Subscription,
        send: Callable[[str], Awaitable[None]],
        write: Callable[[bytes], bool] | None = None,
    ) -> None:
        self._sandbox_id = sandbox_id
        self._held = held
        self._subscription = subscription
        self._send = send
        self._write = write
        self._limit = _PAGE
        self._sent = self._counted = 0
        self._acknowledged = 0
        self._room = asyncio.Event()
        self._room.set()

    def acknowledge(self, units: int) -> bool:
        """The viewer has received so much in all. False when that was never sent."""
        if units > self._sent:
            return False
        self._acknowledged = max(self._acknowledged, units)
        self._count()
        self._measure()
        return True

    async def run(self) -> None:
        """Until cancelled."""
        try:
            await self._begin()
            await self._follow()
        finally:
            self._count()
            self._open()

    async def _follow(self) -> None:
        take = self._take if self._write else None
        while True:
            rows = await self._subscription.next(take)
            if rows is None:
                await self._catch_up()
            elif rows.first == self._held + 1:
                await self._give(rows)
            elif rows.last > self._held:
                # Whatever is told live is stored, so what is missing in between can be read.
                missing = rows.first > self._held + 1
                count = await self._catch_up()
                if missing:
                    metrics.repaired_events.inc(count)
                    await self._send(frame("repaired", count=count))

    async def _begin(self) -> None:
        stored = (await self._patiently(lambda: heads([self._sandbox_id]))).get(self._sandbox_id, 0)
        self._held = min(self._held, stored)
        self._subscription.edge = max(self._subscription.edge, stored)
        await self._catch_up()
        await self._send(frame("edge", seq=self._held))

    async def _catch_up(self) -> int:
        """Send what lies between the viewer and the edge; returns how many events that was."""
        began = self._held
        while self._held < self._subscription.edge:
            await self._room.wait()
            await self._skip_if_far()
            rows = await self._patiently(self._page)
            if rows is None:
                break
            # Large rows fill a frame early: the next page asks for about as many as fitted.
            self._limit = min(_PAGE, 2 * (rows.last - rows.first + 1))
            await self._give(rows)
        return self._held - began

    async def _page(self) -> Rows | None:
        return await rows_after(self._sandbox_id, after=self._held, limit=self._limit)

    async def _skip_if_far(self) -> None:
        edge = self._subscription.edge
        if edge - self._held > SKIP_EVENTS:
            last = edge - KEEP_EVENTS
            metrics.skipped_events.inc(last - self._held)
            await self._send(frame("skip", **{"from": self._held + 1, "to": last}))
            self._held = last

    async def _give(self, rows: Rows) -> None:
        await self._room.wait()
        self._gave(rows)
        self._count()
        await self._send(rows.text)

    def _take(self, rows: Rows) -> bool:
        """Straight from the hub to the socket, for as long as there is nothing to wait for."""
        follows = rows.first == self._held + 1 and self._room.is_set()
        if not follows or self._write is None or not self._write(rows.payload):
            return False
        self._gave(rows)
        return True

    def _gave(self, rows: Rows) -> None:
        self._held = rows.last
        self._sent += rows.units
        self._measure()

    def _count(self) -> None:
        """Now and then where frames go out at once: a count costs about as much as one does."""
        metrics.sent_units.inc(self._sent - self._counted)
        self._counted = self._sent

    def _measure(self) -> None:
        if self._sent - self._acknowledged < UNACKNOWLEDGED_UNITS:
            self._open()
        elif self._room.is_set():
            self._room.clear()
            metrics.ack_waits.inc()
            metrics.ack_waiting.inc()

    def _open(self) -> None:
        if not self._room.is_set():
            self._room.set()
            metrics.ack_waiting.dec()

    async def _patiently(self, query: Callable[[], Awaitable[T]]) -> T:
        """PostgreSQL away is no reason to lose the viewer."""
        pause = 0.1
        while True:
            try:
                return await query()
            except DatabaseError as error:
                log.warning("A timeline waits for PostgreSQL: %s", str(error).strip())
                await asyncio.sleep(pause)
                pause = min(pause * 2, _LONGEST_PAUSE)
