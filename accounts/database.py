"""How coroutines reach the database: one hop to a small pool of threads that stay."""

from __future__ import annotations

import asyncio
import contextvars
import functools
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import ParamSpec, TypeVar

from django.db import connection, connections

P = ParamSpec("P")
T = TypeVar("T")

THREADS = 16

#: The event loop of the process, for what a thread wants done there without waiting for it.
home_loop: contextvars.ContextVar[asyncio.AbstractEventLoop | None] = contextvars.ContextVar(
    "home_loop", default=None
)

_pool = ThreadPoolExecutor(max_workers=THREADS, thread_name_prefix="database")


async def in_database(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Run a service or selector in a database thread, and give its connection back after it.

    asgiref's own hop makes a thread for every request; these threads stay.
    """
    loop = asyncio.get_running_loop()
    context = contextvars.copy_context()
    context.run(home_loop.set, loop)
    call = functools.partial(_run, functools.partial(function, *args, **kwargs))
    return await loop.run_in_executor(_pool, context.run, call)


def _run(call: Callable[[], T]) -> T:
    try:
        return call()
    finally:
        if not connection.in_atomic_block:
            for one in connections.all(initialized_only=True):
                one.close_if_unusable_or_obsolete()
