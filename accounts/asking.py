"""One row from the database, asked from the event loop itself.

For the one query that stands in front of every API request. Waking a thread for it means handing
over the interpreter and waiting to get it back, which costs several times what the query does
when the machine is busy. Everything else goes through ``accounts.database``.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final, LiteralString
from weakref import WeakKeyDictionary

import psycopg
from django.db import OperationalError, connection
from psycopg import AsyncConnection

from accounts.database import suspect

CONNECTIONS: Final = 8
CONNECT_SECONDS: Final = 5
_DJANGO_ONLY: Final = ("context", "cursor_factory", "prepare_threshold", "pool")

Row = tuple[Any, ...]


class Asker:
    """A few connections of one event loop. One that broke takes the idle ones with it."""

    def __init__(self) -> None:
        self._idle: list[AsyncConnection[Row]] = []
        self._room = asyncio.Semaphore(CONNECTIONS)

    async def row(self, sql: LiteralString, values: Sequence[object]) -> Row | None:
        """The first row, if any. Asks once more when a kept connection turns out to be dead.

        Raises Django's ``OperationalError`` when PostgreSQL is away. Read-only queries only.
        """
        async with self._room:
            try:
                return await self._kept_or_new(sql, values)
            except psycopg.OperationalError as error:
                raise OperationalError(str(error)) from error

    async def _kept_or_new(self, sql: LiteralString, values: Sequence[object]) -> Row | None:
        if self._idle:
            try:
                return await self._ask(self._idle.pop(), sql, values)
            except psycopg.OperationalError:
                suspect()
                await self._drop()
        return await self._ask(await _connect(), sql, values)

    async def _ask(
        self, held: AsyncConnection[Row], sql: LiteralString, values: Sequence[object]
    ) -> Row | None:
        try:
            cursor = await held.execute(sql, values, prepare=True)
            row = await cursor.fetchone()
        except BaseException:  # a caller who went away in the middle leaves it in no known state
            await held.close()
            raise
        self._idle.append(held)
        return row

    async def _drop(self) -> None:
        idle, self._idle = self._idle, []
        for held in idle:
            await held.close()


async def _connect() -> AsyncConnection[Row]:
    params = {"connect_timeout": CONNECT_SECONDS, **connection.get_connection_params()}
    for name in _DJANGO_ONLY:
        params.pop(name, None)
    return await AsyncConnection.connect(**params, autocommit=True)


_askers: WeakKeyDictionary[asyncio.AbstractEventLoop, Asker] = WeakKeyDictionary()


def asker() -> Asker:
    """Of the running event loop."""
    loop = asyncio.get_running_loop()
    if loop not in _askers:
        _askers[loop] = Asker()
    return _askers[loop]
