"""Time that a sandbox runs: it stands still while the sandbox does."""

from __future__ import annotations

import asyncio
import time
from typing import Any


class RunningClock:
    """Seconds. Both turns may be made twice."""

    def __init__(self) -> None:
        self._held_at: float | None = None
        self._held = 0.0
        self._runs = asyncio.Event()
        self._runs.set()

    def now(self) -> float:
        return (self._held_at if self._held_at is not None else time.monotonic()) - self._held

    @property
    def is_held(self) -> bool:
        return self._held_at is not None

    def hold(self) -> None:
        if self._held_at is None:
            self._held_at = time.monotonic()
            self._runs.clear()

    def go_on(self) -> None:
        if self._held_at is not None:
            self._held += time.monotonic() - self._held_at
            self._held_at = None
            self._runs.set()

    async def wait(self, future: asyncio.Future[Any], seconds: float) -> bool:
        """Whether ``future`` is done within so much running time."""
        deadline = self.now() + seconds
        while not future.done():
            left = deadline - self.now()
            if left <= 0:
                return False
            await asyncio.wait({future}, timeout=left)
            if self.is_held and not future.done():
                await self._runs.wait()
        return True
