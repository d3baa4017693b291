"""One painter for all viewers of an account: what they share, and who falls behind."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from threading import Event
from typing import Any

import orjson
import pytest
from django.db import OperationalError

from console.wall import hub
from console.wall.hub import Walls
from console.wall.picture import Painter, Picture


@pytest.fixture
def paint(monkeypatch: pytest.MonkeyPatch) -> list[Callable[[], str]]:
    """What the next rounds find, as the counters; each is called once, the last for ever."""
    rounds: list[Callable[[], str]] = []

    def painted(painter: Painter) -> Picture:
        found = rounds.pop(0) if len(rounds) > 1 else rounds[0]
        painter.picture = Picture(painter.picture.version + 1, counts=found())
        return painter.picture

    monkeypatch.setattr(Painter, "paint", painted)
    monkeypatch.setattr(hub, "ROUND_SECONDS", 0.01)
    return rounds


def _away() -> str:
    raise OperationalError("the database is away")


async def test_all_viewers_are_sent_the_very_same_frame(paint: list[Callable[[], str]]) -> None:
    walls = Walls()
    go = Event()
    paint += [lambda: "one", lambda: "two" if go.wait(30) else "late"]
    async with asyncio.timeout(30):
        with walls.watch("acc_1") as first, walls.watch("acc_1") as second:
            whole = await first.next()
            assert whole is await second.next()
            assert orjson.loads(whole)["t"] == "all"
            go.set()
            frame = await first.next()
            assert frame is await second.next()
            assert orjson.loads(frame) == {
                "t": "some",
                "state": "new",
                "rows": {},
                "cells": {},
                "counts": "two",
            }
    assert not walls.is_watching


async def test_who_is_too_slow_gets_the_whole_wall_next(paint: list[Callable[[], str]]) -> None:
    walls = Walls()
    numbers = iter(range(1_000_000))
    paint.append(lambda: str(next(numbers)))
    async with asyncio.timeout(30):
        with walls.watch("acc_1") as slow, walls.watch("acc_1") as quick:
            await slow.next()
            changes = 0
            while changes < 5:
                changes += orjson.loads(await quick.next())["t"] == "some"
            whole = orjson.loads(await slow.next())
            assert whole["t"] == "all"
            assert int(whole["counts"]) >= 4


async def test_a_database_that_is_away_is_told_and_gone_on_from(
    paint: list[Callable[[], str]],
) -> None:
    walls = Walls()
    paint += [_away, _away, lambda: "back"]
    async with asyncio.timeout(30):
        with walls.watch("acc_1") as viewer:
            frames: list[dict[str, Any]] = []
            while not frames or frames[-1]["t"] != "all":
                frames.append(orjson.loads(await viewer.next()))
    assert frames[0] == {"t": "behind"}
    assert frames[-1]["counts"] == "back"
