"""Blocking calls leave the event loop through here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import TypeVar

T = TypeVar("T")


async def in_thread(executor: Executor, call: Callable[[], T]) -> T:
    """Its result. Giving up waiting does not stop it."""
    return await asyncio.get_running_loop().run_in_executor(executor, call)
