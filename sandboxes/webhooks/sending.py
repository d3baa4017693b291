"""Sends what is due, in slices: a bounded number at once, for a bounded time.

One process sends at any moment, and holds one of its worker's places while it does. So a thousand
deliveries, or an endpoint that never answers, take nothing from the reaper or from the tail.
Requests wait for the network together, in the event loop of one thread; rows are this thread's.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from contextlib import suppress
from typing import Final, Self

from django.conf import settings

from sandboxes.alone import Duty, alone
from sandboxes.webhooks import claims, outbox
from sandboxes.webhooks.claims import Claimed
from sandboxes.webhooks.posting import Outcome, post
from sandboxes.webhooks.signing import signature
from sandboxes.webhooks.targets import BadTarget, parse

AT_ONCE: Final = 32
AT_ONCE_EACH: Final = 8
"""What one webhook may take of it, so that a slow one does not hold up the others."""

SLICE_SECONDS: Final = 10.0
"""After this nothing new is begun; what has been begun is finished."""

USER_AGENT: Final = "Orkestr-Webhooks/1"
_LOOK_SECONDS: Final = 0.25


def send_due() -> int:
    """One slice. How many attempts were made: none while another process is at it."""
    outbox.awake()
    if not claims.anything_due():
        return 0
    with alone(Duty.SENDING) as mine:
        if not mine:
            return 0
        made = _slice(until=time.monotonic() + SLICE_SECONDS)
    # Who came while the lock was held went away again, so its rows are looked for once more.
    if claims.anything_due():
        outbox.wake()
    return made


def _slice(*, until: float) -> int:
    made = under_way = 0
    with _Posts(seconds=settings.ORKESTR_WEBHOOK_TIMEOUT_SECONDS) as posts:
        while True:
            if under_way < AT_ONCE and time.monotonic() < until:
                for claimed in claims.claim(room=AT_ONCE - under_way, each=AT_ONCE_EACH):
                    posts.begin(claimed)
                    under_way += 1
            if not under_way:
                return made
            if ended := posts.done():
                claims.finished(ended)
                under_way -= len(ended)
                made += len(ended)


class _Posts:
    """An event loop in a thread. Leaving it ends what is still under way."""

    def __init__(self, *, seconds: float) -> None:
        self._seconds = seconds
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="webhook-posts")
        self._done: queue.SimpleQueue[tuple[str, Outcome]] = queue.SimpleQueue()
        self._tasks: set[asyncio.Task[None]] = set()

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run_coroutine_threadsafe(self._cancel(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def begin(self, claimed: Claimed) -> None:
        self._loop.call_soon_threadsafe(self._begin, claimed)

    def done(self) -> dict[str, Outcome]:
        """What has ended: waits a moment for the first, and not for the others."""
        ended: dict[str, Outcome] = {}
        with suppress(queue.Empty):
            ended.update([self._done.get(timeout=_LOOK_SECONDS)])
            while True:
                ended.update([self._done.get_nowait()])
        return ended

    def _begin(self, claimed: Claimed) -> None:
        task = self._loop.create_task(self._send(claimed))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _send(self, claimed: Claimed) -> None:
        outcome = await _attempt(claimed, seconds=self._seconds)
        self._done.put((claimed.id, outcome))

    async def _cancel(self) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)


async def _attempt(claimed: Claimed, *, seconds: float) -> Outcome:
    """The URL is checked at every attempt: what was good once may be forbidden today."""
    try:
        target = parse(claimed.url)
    except BadTarget as error:
        return Outcome(0, error=str(error))
    return await post(target, headers=_headers(claimed), body=claimed.body, seconds=seconds)


def _headers(claimed: Claimed) -> dict[str, str]:
    return {
        "User-Agent": USER_AGENT,
        "Content-Type": "application/json",
        "X-Orkestr-Event": claimed.event_type,
        "X-Orkestr-Delivery": claimed.id,
        "X-Orkestr-Attempt": str(claimed.attempt),
        "X-Orkestr-Timestamp": str(int(time.time())),
        "X-Orkestr-Signature": signature(claimed.secret, claimed.body),
    }
