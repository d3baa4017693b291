"""Events and batches as tests make them, and reading back what was stored."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from psycopg import Connection

from timeline.events import Actor, NewEvent
from timeline.log import Batch, to_line

AGENT = Actor("token", id="tok_1", name="agent", prefix="ork_abcd")
SPAN = "cmd_01JD0000000000000000000000"


def output(number: int, *, text: str = "") -> NewEvent:
    """A chunk of output that says which one it is."""
    data = {"command_id": SPAN, "stream": "stdout", "text": text or f"line {number}\n"}
    return NewEvent("command.output", data={**data, "number": number}, actor=AGENT, span=SPAN)


def outputs(first: int, last: int) -> list[NewEvent]:
    return [output(number) for number in range(first, last + 1)]


def batch_of(sandbox_id: str, first: int, last: int, *, before: int | None = None) -> Batch:
    """Journal records whose position is their number."""
    lines = b"\n".join(to_line(event) for event in outputs(first, last))
    begin = first - 1 if before is None else before
    return Batch(sandbox_id, begin, first, last - first + 1, lines)


def stored(connection: Connection[Any], sandbox_id: str) -> list[tuple[int, Any]]:
    """(seq, number) of every stored event, in order."""
    return connection.execute(
        "SELECT seq, data->'number' FROM timeline_event WHERE sandbox_id = %s ORDER BY seq",
        (sandbox_id,),
    ).fetchall()


def one_each(numbers: Sequence[int]) -> list[tuple[int, int]]:
    """What ``stored`` is when these were appended once each, in this order."""
    return list(enumerate(numbers, 1))


async def eventually(
    condition: Callable[[], bool | Awaitable[bool]], *, seconds: float = 20
) -> None:
    """Returns as soon as it holds; fails when it does not in time."""
    deadline = time.monotonic() + seconds
    while True:
        holds = condition()
        if (await holds) if isinstance(holds, Awaitable) else holds:
            return
        assert time.monotonic() < deadline, f"not within {seconds} s"
        await asyncio.sleep(0.01)
