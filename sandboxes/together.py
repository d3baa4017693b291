"""Calls of one kind that come while another is under way are done together, in one go."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Sequence
from typing import Generic, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Together(Generic[T, R]):
    """``work`` gets what was asked for one key and answers each in its place, in order.

    One alone is done at once; the more there are at once, the less each of them costs, since they
    share a thread, a transaction and a lock. An answer that is an exception is raised by the call
    it belongs to; one that ``work`` raises itself is raised by all of that go. ``most`` bounds a
    go, so that the first of a hundred can go on before the last was looked at.
    """

    def __init__(
        self, work: Callable[[Sequence[T]], Awaitable[Sequence[R | Exception]]], *, most: int
    ) -> None:
        self._work = work
        self._most = most
        self._waiting: dict[Hashable, deque[tuple[T, asyncio.Future[R]]]] = {}
        self._working: set[asyncio.Task[None]] = set()

    async def call(self, key: Hashable, one: T) -> R:
        """The answer to ``one``, whose turn comes after all that were asked for ``key`` before."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[R] = loop.create_future()
        key = (loop, key)
        waiting = self._waiting.get(key)
        if waiting is None:
            waiting = self._waiting[key] = deque()
            task = asyncio.create_task(self._go_on(key, waiting))
            self._working.add(task)
            task.add_done_callback(self._working.discard)
        waiting.append((one, answer))
        return await answer

    async def _go_on(self, key: Hashable, waiting: deque[tuple[T, asyncio.Future[R]]]) -> None:
        try:
            while waiting:
                count = min(len(waiting), self._most)
                await self._go([waiting.popleft() for _ in range(count)])
        finally:
            del self._waiting[key]
            for _, answer in waiting:
                answer.cancel()

    async def _go(self, asked: list[tuple[T, asyncio.Future[R]]]) -> None:
        answers: Sequence[R | Exception]
        try:
            answers = await self._work([one for one, _ in asked])
        except Exception as error:
            answers = [error] * len(asked)
        except BaseException:
            for _, answer in asked:
                answer.cancel()
            raise
        for (_, answer), found in zip(asked, answers, strict=True):
            if answer.done():
                continue
            if isinstance(found, Exception):
                answer.set_exception(found)
            else:
                answer.set_result(found)
