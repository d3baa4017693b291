"""Ends running streams whose token is revoked or expires, within a second.

One task of the process asks the database about all of them at once, only while there are any.
Asking needs no message to arrive, so it holds while Valkey is away too.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from django.db import Error
from django.utils import timezone

from accounts.database import in_database
from accounts.policy import Principal
from sandboxes.selectors import tokens_ended

logger = logging.getLogger(__name__)

POLL_SECONDS: Final = 0.5


class _Watch:
    """The open streams of this process, by token."""

    def __init__(self) -> None:
        self.streams: dict[str, set[asyncio.Event]] = {}
        self.task: asyncio.Task[None] | None = None

    def add(self, token_id: str) -> asyncio.Event:
        ended = asyncio.Event()
        self.streams.setdefault(token_id, set()).add(ended)
        if self.task is None or self.task.done():
            self.task = asyncio.create_task(self.poll())
        return ended

    def remove(self, token_id: str, ended: asyncio.Event) -> None:
        remaining = self.streams.get(token_id, set())
        remaining.discard(ended)
        if not remaining:
            self.streams.pop(token_id, None)

    async def poll(self) -> None:
        while self.streams:
            await asyncio.sleep(POLL_SECONDS)
            try:
                gone = await in_database(tokens_ended, list(self.streams), now=timezone.now())
            except Error as error:
                logger.warning("tokens of open streams could not be checked: %s", error)
                continue
            for token_id in gone:
                for ended in self.streams.get(token_id, ()):
                    ended.set()


_watch = _Watch()


@contextmanager
def watched(principal: Principal) -> Iterator[asyncio.Event]:
    """An event that is set when the principal's token is no longer good."""
    token_id = principal.token_id
    if token_id is None:
        yield asyncio.Event()
        return
    ended = _watch.add(token_id)
    try:
        yield ended
    finally:
        _watch.remove(token_id, ended)
