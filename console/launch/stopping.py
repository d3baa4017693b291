"""Ctrl-C and TERM, noticed at safe moments only: never between a start and its record."""

from __future__ import annotations

import os
import select
import signal
import time
from collections.abc import Callable
from types import FrameType


class Interrupted(Exception):  # noqa: N818 - a request, not an error
    """Somebody asked for a stop."""


class Stopping:
    """Counts requests to stop; every wait goes through it."""

    def __init__(self) -> None:
        self.requested = False
        self._reader, self._writer = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)

    def listen(self) -> None:
        """From here on INT, TERM and HUP only set ``requested`` and end the current wait."""
        for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            signal.signal(each, self._ask)

    def _ask(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
        os.write(self._writer, b"!")

    def check(self) -> None:
        """Raises ``Interrupted`` once a stop has been asked for."""
        if self.requested:
            raise Interrupted

    def wait(self, descriptors: list[int], *, seconds: float) -> list[int]:
        """The descriptors that became readable, none after ``seconds`` or a request to stop."""
        poll = select.poll()
        for descriptor in (*descriptors, self._reader):
            poll.register(descriptor, select.POLLIN)
        ready = [descriptor for descriptor, _ in poll.poll(seconds * 1000)]
        return [descriptor for descriptor in ready if descriptor != self._reader]

    def until(self, condition: Callable[[], bool], *, seconds: float) -> bool:
        """Asks every 50 ms whether it holds; False when it did not in time."""
        deadline = time.monotonic() + seconds
        while not condition():
            self.check()
            if time.monotonic() > deadline:
                return False
            self.wait([], seconds=0.05)
        return True
