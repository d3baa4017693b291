"""What comes while one is under way is done in one go, in order, each with its own answer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import pytest

from sandboxes.together import Together


class Kitchen:
    """Notes what it was given in each go; holds a go back until ``open``."""

    def __init__(self) -> None:
        self.goes: list[list[str]] = []
        self.open = asyncio.Event()

    async def work(self, asked: Sequence[str]) -> Sequence[str | Exception]:
        self.goes.append(list(asked))
        await self.open.wait()
        if "fire" in asked:
            raise OSError("fire")
        return [ValueError(one) if one == "bad" else one.upper() for one in asked]


async def ask(kitchen: Kitchen, *names: str, most: int = 3) -> list[str | BaseException]:
    together = Together(kitchen.work, most=most)
    calls = [asyncio.ensure_future(together.call("table", names[0]))]
    await asyncio.sleep(0.01)  # the first is under way
    calls += [asyncio.ensure_future(together.call("table", name)) for name in names[1:]]
    await asyncio.sleep(0)
    kitchen.open.set()
    async with asyncio.timeout(10):
        return await asyncio.gather(*calls, return_exceptions=True)


async def test_one_goes_alone_and_those_who_come_meanwhile_go_together() -> None:
    kitchen = Kitchen()
    assert await ask(kitchen, *"abcdef") == list("ABCDEF")
    assert kitchen.goes == [["a"], ["b", "c", "d"], ["e", "f"]]


async def test_a_refusal_is_raised_by_the_call_it_belongs_to_alone() -> None:
    first, bad, last = await ask(Kitchen(), "a", "bad", "c")
    assert (first, last) == ("A", "C")
    assert isinstance(bad, ValueError)


async def test_a_go_that_fails_fails_for_all_in_it_and_the_next_goes_on() -> None:
    kitchen = Kitchen()
    found = await ask(kitchen, "a", "b", "fire", "d", most=2)
    assert [type(one) for one in found] == [str, OSError, OSError, str]


async def test_other_keys_do_not_wait_and_who_leaves_changes_nothing() -> None:
    kitchen = Kitchen()
    together = Together(kitchen.work, most=3)
    calls = [asyncio.ensure_future(together.call(key, key)) for key in ("one", "other")]
    gone = asyncio.ensure_future(together.call("one", "gone"))
    await asyncio.sleep(0.01)
    assert kitchen.goes == [["one", "gone"], ["other"]]
    gone.cancel()
    kitchen.open.set()
    async with asyncio.timeout(10):
        assert await asyncio.gather(*calls) == ["ONE", "OTHER"]
        with pytest.raises(asyncio.CancelledError):
            await gone
        assert await together.call("one", "again") == "AGAIN"
