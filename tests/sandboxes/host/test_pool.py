"""Slots made ready: which are kept, which are taken, and what happens to those nobody wants."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest

from sandboxes.host.places import Shape
from sandboxes.host.pool import Pool
from sandboxes.host.slots import SlotMaker
from sandboxes.host.types import HostError

WAIT_SECONDS = 10


@dataclass(eq=False)
class FakeSlot:
    shape: Shape
    living: bool = True

    def alive(self) -> bool:
        return self.living


@dataclass
class FakeMaker:
    """Makes slots that are nothing but a note of their shape."""

    made: list[FakeSlot] = field(default_factory=list)
    unmade: list[FakeSlot] = field(default_factory=list)
    failures: int = 0

    def make(self, shape: Shape) -> FakeSlot:
        if self.failures:
            self.failures -= 1
            raise HostError("internal", "It could not be made.")
        self.made.append(FakeSlot(shape))
        return self.made[-1]

    def kill(self, slot: FakeSlot) -> None:
        slot.living = False

    def unmake(self, slot: FakeSlot) -> None:
        self.unmade.append(slot)


def shape(tmp_path: Path, pids: int = 10) -> Shape:
    return Shape((str(tmp_path),), 1.0, 128, 64, pids)


@asynccontextmanager
async def pooled(
    maker: FakeMaker, tmp_path: Path, *, ready: int, room: bool = True, quiet_seconds: float = 0
) -> AsyncIterator[Pool]:
    """A pool that fills itself up meanwhile."""
    with ThreadPoolExecutor(2) as threads:
        pool = Pool(
            cast(SlotMaker, cast(Any, maker)),
            threads,
            ready=ready,
            memory=tmp_path / "shapes.json",
            room=lambda: room,
            quiet_seconds=quiet_seconds,
        )
        pool.recall()
        filling = asyncio.ensure_future(pool.run())
        try:
            yield pool
        finally:
            filling.cancel()
            await asyncio.gather(filling, return_exceptions=True)
            await pool.empty(threads)


async def eventually(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(WAIT_SECONDS):
        while not condition():  # noqa: ASYNC110 - the pool tells nobody what it makes
            await asyncio.sleep(0.001)


def has_made(maker: FakeMaker, count: int) -> bool:
    return len(maker.made) >= count


async def test_the_first_is_made_now_and_the_next_is_ready(tmp_path: Path) -> None:
    maker, wanted = FakeMaker(), shape(tmp_path)
    async with pooled(maker, tmp_path, ready=2) as pool:
        first = await pool.take(wanted)
        await eventually(lambda: len(maker.made) == 3)
        second = await pool.take(wanted)
        assert second is not first
        assert cast(Any, second) is maker.made[1]
        await eventually(lambda: len(maker.made) == 4)
    assert len(maker.unmade) == 2


async def test_a_ready_one_that_died_is_not_given_away(tmp_path: Path) -> None:
    maker, wanted = FakeMaker(), shape(tmp_path)
    async with pooled(maker, tmp_path, ready=1) as pool:
        await pool.take(wanted)
        await eventually(lambda: len(maker.made) == 2)
        maker.made[1].living = False
        assert (await pool.take(wanted)).alive()
        assert maker.made[1] in maker.unmade


async def test_the_shape_asked_for_last_has_most_ready(tmp_path: Path) -> None:
    maker = FakeMaker()
    async with pooled(maker, tmp_path, ready=8) as pool:
        await pool.take(shape(tmp_path, 1))
        await eventually(lambda: len(maker.made) == 9)
        await pool.take(shape(tmp_path, 2))
        await eventually(lambda: len(maker.made) == 18)
        for _ in range(7):
            await pool.take(shape(tmp_path, 1))
        await pool.take(shape(tmp_path, 2))
        await eventually(lambda: len(maker.made) == 20)
        assert [slot.shape.pids for slot in maker.made[18:]] == [2, 1]


async def test_a_burst_has_the_machine_until_little_is_left(tmp_path: Path) -> None:
    maker, wanted = FakeMaker(), shape(tmp_path)
    async with pooled(maker, tmp_path, ready=16) as pool:
        await pool.take(wanted)
        await eventually(partial(has_made, maker, 17))
    maker = FakeMaker()
    async with pooled(maker, tmp_path, ready=16, quiet_seconds=3600) as pool:
        await eventually(partial(has_made, maker, 16))
        for left in range(15, 1, -1):
            await pool.take(wanted)
            for _ in range(10):
                await asyncio.sleep(0)
            assert len(maker.made) == 16, left
        await pool.take(wanted)
        await eventually(partial(has_made, maker, 17))


async def test_what_was_taken_is_made_again_once_it_is_quiet(tmp_path: Path) -> None:
    maker, wanted = FakeMaker(), shape(tmp_path)
    async with pooled(maker, tmp_path, ready=16, quiet_seconds=0.05) as pool:
        for _ in range(4):
            await pool.take(wanted)
        await eventually(lambda: len(maker.made) == 20)


async def test_shapes_that_nobody_asks_for_any_more_are_dropped(tmp_path: Path) -> None:
    maker = FakeMaker()
    async with pooled(maker, tmp_path, ready=1) as pool:
        for pids in range(1, 7):
            await pool.take(shape(tmp_path, pids))
            await eventually(partial(has_made, maker, 2 * pids))
        await eventually(lambda: len(maker.unmade) == 2)
        assert [slot.shape.pids for slot in maker.unmade] == [1, 2]


async def test_a_restarted_host_makes_the_same_shapes_ready(tmp_path: Path) -> None:
    async with pooled(FakeMaker(), tmp_path, ready=1) as pool:
        await pool.take(shape(tmp_path, 5))
        await pool.take(Shape((str(tmp_path / "gone"),), 1.0, 128, 64, 6))
    maker = FakeMaker()
    async with pooled(maker, tmp_path, ready=1):
        await eventually(lambda: len(maker.made) == 1)
    assert maker.made[0].shape == shape(tmp_path, 5)


@pytest.mark.parametrize("text", ["", "{", "7", '[{"cpu": 1}]', "[[]]"])
async def test_a_damaged_memory_of_shapes_is_no_memory(tmp_path: Path, text: str) -> None:
    (tmp_path / "shapes.json").write_text(text)
    maker = FakeMaker()
    async with pooled(maker, tmp_path, ready=1) as pool:
        await pool.take(shape(tmp_path))
        assert len(maker.made) >= 1


async def test_nothing_is_made_ready_on_a_full_disk(tmp_path: Path) -> None:
    maker = FakeMaker()
    async with pooled(maker, tmp_path, ready=4, room=False) as pool:
        for _ in range(3):
            await pool.take(shape(tmp_path))
    assert len(maker.made) == 3


async def test_a_failure_reaches_its_caller_and_nobody_else(tmp_path: Path) -> None:
    maker = FakeMaker(failures=1)
    async with pooled(maker, tmp_path, ready=0) as pool:
        with pytest.raises(HostError):
            await pool.take(shape(tmp_path))
        assert (await pool.take(shape(tmp_path))).alive()
