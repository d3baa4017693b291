"""What tokens use is written down beside their requests, and not at every one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Hashable
from functools import partial
from typing import Final

from django.db import connection

from accounts.database import home_loop, in_database

EVERY_SECONDS: Final = 60.0
_REMEMBERED: Final = 50_000
_SCOPE: Final = """
INSERT INTO accounts_scopeuse (token_id, scope, last_at) VALUES (%s, %s, now())
ON CONFLICT (token_id, scope) DO UPDATE SET last_at = EXCLUDED.last_at
"""

_noted: dict[Hashable, float] = {}
_writing: set[asyncio.Task[None]] = set()


def beside(key: Hashable, write: Callable[[], None]) -> None:
    """Have ``write`` called in a database thread, at most once a minute for ``key``.

    Whoever asks never waits for it, and holds none of its locks. Without an event loop nothing is
    noted: there are tokens at work only where there is one.
    """
    now = time.monotonic()
    if now - _noted.get(key, -1e9) < EVERY_SECONDS:
        return
    loop = _loop()
    if loop is None:
        return
    if len(_noted) >= _REMEMBERED:
        _noted.clear()
    _noted[key] = now
    loop.call_soon_threadsafe(_begin, write)


def _loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return home_loop.get()


def _begin(write: Callable[[], None]) -> None:
    task = asyncio.ensure_future(in_database(write))
    _writing.add(task)
    task.add_done_callback(_written)


def _written(task: asyncio.Task[None]) -> None:
    _writing.discard(task)
    if not task.cancelled():
        task.exception()  # a database that is away says so in the request itself


def scope_used(token_id: str, scope: str) -> None:
    """A token did something that takes ``scope``."""
    beside(("scope", token_id, scope), partial(_scope_used, token_id, scope))


def _scope_used(token_id: str, scope: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute(_SCOPE, [token_id, str(scope)])
