"""Connections that outlast a question, all of which an agent may be told to cut for a while.

Whoever has one takes it up again where its record is, once the agent can be reached again.
"""

from __future__ import annotations

import asyncio


class Ties:
    """Of one sandbox's agent. Use from one event loop."""

    def __init__(self) -> None:
        self._partings = 0
        self._together = asyncio.Event()
        self._together.set()

    @property
    def partings(self) -> int:
        """How often they were cut: a connection lost since an earlier count may be taken up."""
        return self._partings

    @property
    def is_apart(self) -> bool:
        return not self._together.is_set()

    def part(self) -> None:
        """From here on the agent may hang up: nobody is to take that for its end."""
        self._partings += 1
        self._together.clear()

    def rejoin(self) -> None:
        """The agent answers again, or never will."""
        self._together.set()

    async def together(self) -> None:
        """Returns once it can be asked again."""
        await self._together.wait()
