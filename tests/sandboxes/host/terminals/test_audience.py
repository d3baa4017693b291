"""How far a page may be behind with what a terminal writes."""

from __future__ import annotations

import pytest

from sandboxes.host.terminals.audience import CHUNK, DELAY, LEAST_WINDOW, Pace
from sandboxes.host.terminals.types import WINDOW


class Clock:
    """Time that a test moves."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        monkeypatch.setattr(f"{Pace.__module__}.time.monotonic", lambda: self.now)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    return Clock(monkeypatch)


def _flood(clock: Clock, pace: Pace, *, rate: float, away: float = 0.0, seconds: float = 5) -> None:
    """As much as the window allows, to a page that shows ``rate`` bytes a second."""
    sent = 0
    until = clock.now + seconds
    while clock.now < until:
        sent += pace.window
        pace.sent(sent)
        clock.now += away + pace.window / rate
        pace.shown(sent)


def test_a_quick_page_has_the_whole_window(clock: Clock) -> None:
    pace = Pace()
    _flood(clock, pace, rate=4e6)
    assert pace.window == WINDOW


@pytest.mark.parametrize("away", [0.0, 0.3])
def test_a_slow_page_has_what_it_shows_in_a_moment_however_far_it_is(
    clock: Clock, away: float
) -> None:
    pace = Pace()
    pace.sent(1)
    clock.now += away
    pace.shown(1)  # a single key tells how long the way is
    _flood(clock, pace, rate=200e3, away=away)
    assert pace.window / 200e3 == pytest.approx(DELAY, rel=0.5)


def test_a_page_that_hardly_moves_gets_a_little_and_recovers(clock: Clock) -> None:
    pace = Pace()
    _flood(clock, pace, rate=10e3, seconds=20)
    assert pace.window < 1.1 * LEAST_WINDOW
    _flood(clock, pace, rate=4e6, seconds=2)
    assert pace.window > WINDOW - CHUNK
