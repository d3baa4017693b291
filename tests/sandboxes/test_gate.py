"""A few at a time, in order, and nobody waits for one who waits for something else."""

from __future__ import annotations

import asyncio
from contextlib import suppress

from sandboxes.gate import Gate


async def test_those_who_came_first_are_let_in_first_and_no_more_than_there_are_places() -> None:
    gate, inside, order, most = Gate(places=2, seconds=60), 0, [], 0

    async def pass_through(name: str) -> None:
        nonlocal inside, most
        await gate.enter()
        with gate.passing():
            inside += 1
            most = max(most, inside)
            order.append(name)
            await asyncio.sleep(0)
            inside -= 1

    async with asyncio.timeout(10):
        await asyncio.gather(*(pass_through(name) for name in "abcdef"))
    assert (order, most) == (list("abcdef"), 2)


async def test_one_who_takes_long_gives_up_its_place_once() -> None:
    gate, ended = Gate(places=1, seconds=0.01), asyncio.Event()

    async def take_long() -> None:
        await gate.enter()
        with gate.passing():
            await ended.wait()

    async with asyncio.timeout(10):
        long = asyncio.ensure_future(take_long())
        await asyncio.sleep(0)
        await gate.enter()
        ended.set()
        await long
    later = asyncio.ensure_future(gate.enter())
    await asyncio.sleep(0.02)
    assert not later.done()
    later.cancel()


async def test_a_place_is_not_lost_with_one_who_leaves() -> None:
    gate = Gate(places=1, seconds=60)
    await gate.enter()
    with gate.passing():
        waiting = [asyncio.ensure_future(gate.enter()) for _ in range(2)]
        await asyncio.sleep(0)
        waiting[0].cancel()
    waiting[1].cancel()  # in the moment in which it is let in
    for one in waiting:
        with suppress(asyncio.CancelledError):
            await one
    async with asyncio.timeout(10):
        await gate.enter()
