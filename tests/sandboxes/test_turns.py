"""Turns: one at a time for each key, first come first served."""

from __future__ import annotations

import asyncio

import pytest

from sandboxes.turns import turn


async def test_they_are_taken_one_at_a_time_in_order() -> None:
    order: list[str] = []

    async def take(name: str) -> None:
        async with turn("account"):
            order.append(f"{name} in")
            await asyncio.sleep(0)
            order.append(f"{name} out")

    await asyncio.gather(*(take(name) for name in "abc"))
    assert order == ["a in", "a out", "b in", "b out", "c in", "c out"]


async def test_other_keys_do_not_wait() -> None:
    async with asyncio.timeout(10), turn("one"), turn("other"):
        pass


async def test_a_turn_ends_with_its_holder_however_it_ends() -> None:
    with pytest.raises(ValueError, match="no"):
        async with turn("account"):
            raise ValueError("no")
    async with asyncio.timeout(10), turn("account"):
        waiting = asyncio.ensure_future(turn("account").__aenter__())
        await asyncio.sleep(0)
        waiting.cancel()
    async with asyncio.timeout(10), turn("account"):
        pass
