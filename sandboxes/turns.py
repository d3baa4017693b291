"""One at a time, in the order in which they came, within this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final
from weakref import WeakValueDictionary

_locks: Final[WeakValueDictionary[str, asyncio.Lock]] = WeakValueDictionary()


@asynccontextmanager
async def turn(key: str) -> AsyncIterator[None]:
    """Wait for those who asked for ``key`` before.

    Where a row's lock is what callers wait for, waiting here costs no thread and no connection
    of the database, and the first to come is the first to be done.
    """
    lock = _locks.get(key)
    if lock is None:
        lock = _locks[key] = asyncio.Lock()
    async with lock:
        yield
