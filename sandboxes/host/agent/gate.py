"""Keeping questions from an agent that is about to hang up (``quiesce.c``) and will be back soon.

Whoever comes to a shut gate waits until it opens; who was inside before is waited for. Connections
that outlast a question, as a command's, do not count: they are taken up again by who made them.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: All by the path that the agent listens at: what opens a gate that is shut, how many are past it,
#: and what tells that the last of them has left.
_shut: dict[Path, asyncio.Event] = {}
_inside: Counter[Path] = Counter()
_left: dict[Path, asyncio.Event] = {}


def shut(agent_socket: Path) -> None:
    """Let nobody in until ``opened``. Doing so twice changes nothing."""
    _shut.setdefault(agent_socket, asyncio.Event())


def opened(agent_socket: Path) -> None:
    """Let in who waits, and everybody after them."""
    gate = _shut.pop(agent_socket, None)
    if gate is not None:
        gate.set()


async def passed(agent_socket: Path) -> None:
    """Returns once the gate is open."""
    while gate := _shut.get(agent_socket):
        await gate.wait()


@contextmanager
def inside(agent_socket: Path) -> Iterator[None]:
    """Somebody asks and has not been answered yet. Come by ``passed``."""
    _inside[agent_socket] += 1
    try:
        yield
    finally:
        _inside[agent_socket] -= 1
        if not _inside[agent_socket]:
            del _inside[agent_socket]
            if left := _left.pop(agent_socket, None):
                left.set()


async def empty(agent_socket: Path) -> None:
    """Returns once nobody is inside. It has no limit of its own."""
    while _inside[agent_socket]:
        await _left.setdefault(agent_socket, asyncio.Event()).wait()
