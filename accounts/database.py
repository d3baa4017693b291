"""How coroutines reach the database: one hop to a small pool of threads that stay.

asgiref's own hop makes a thread for every request, and Django's request signals give its
connection back and check the next one. Here a thread keeps its connection, which halves what a
query costs. A restarted PostgreSQL is noticed by whoever asks first: from then on every thread
takes a new connection before it does anything.
"""

from __future__ import annotations

import asyncio
import contextvars
import functools
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Final, ParamSpec, TypeVar

from django.db import InterfaceError, OperationalError, connections

P = ParamSpec("P")
T = TypeVar("T")

THREADS: Final = 16
KEEP_SECONDS: Final = 300.0
"""How long a thread keeps a connection; short enough to follow a database that moved."""

#: The event loop of the process, for what a thread wants done there without waiting for it.
home_loop: contextvars.ContextVar[asyncio.AbstractEventLoop | None] = contextvars.ContextVar(
    "home_loop", default=None
)

_pool: Final = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="database")


class _Kept(threading.local):
    """When this thread's connection was taken, and how often any had been lost by then."""

    until: float = 0.0
    losses: int = -1


_kept: Final = _Kept()
_losses = 0


async def in_database(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a service or selector in a database thread."""
    loop = asyncio.get_running_loop()
    context = contextvars.copy_context()
    context.run(home_loop.set, loop)
    call = functools.partial(_run, functools.partial(function, *args, **kwargs))
    return await loop.run_in_executor(_pool, context.run, call)


def _run(call: Callable[[], T]) -> T:
    if _kept.losses != _losses or time.monotonic() >= _kept.until:
        renew()
    try:
        return call()
    except (OperationalError, InterfaceError):
        suspect()
        raise


def suspect() -> None:
    """A connection turned out to be dead; so, most likely, are those of all threads."""
    global _losses  # noqa: PLW0603 - one number for all threads is the point
    _losses += 1


def renew() -> None:
    """Give this thread's connections back; the next query takes new ones."""
    _kept.losses = _losses
    for connection in connections.all(initialized_only=True):
        connection.close()
    _kept.until = time.monotonic() + KEEP_SECONDS
