"""What one sandbox did last, from its events: the last command, and how many failed in a row."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, Final

from sandboxes.usage.history import Totals
from timeline.commands import BEGUN, ENDED, asked, ending_of
from timeline.events import Kind
from timeline.inert import inert

KINDS: Final = (*BEGUN, *ENDED)
POINTS: Final = 31
_TEXT: Final = 160


@dataclass(frozen=True, slots=True)
class Command:
    """The last one that began. ``state`` is ``busy`` while it runs, then as ``Ending.state``."""

    span: str
    seq: int
    text: str
    began: datetime
    state: str = "busy"
    how: str = ""
    ended: datetime | None = None


@dataclass(frozen=True, slots=True)
class Heard:
    """An event of one of ``KINDS``; of ``data`` only what says what was asked, and how it ended."""

    seq: int
    at: datetime
    kind: str
    span: str
    data: Mapping[str, Any]


@dataclass(slots=True)
class Pulse:
    """As far as it was read: events up to ``seq``, samples up to the slot ``sampled``."""

    seq: int = 0
    last: Command | None = None
    streak: int = 0
    sampled: int = 0
    totals: deque[Totals] = field(default_factory=lambda: deque(maxlen=POINTS))

    def hear(self, events: Iterable[Heard], *, upto: int) -> None:
        """Take in what is new, in any order. ``upto`` is where the log ended meanwhile."""
        for event in sorted(events, key=lambda one: one.seq):
            if event.seq > self.seq:
                self._take(event)
                self.seq = event.seq
        self.seq = max(self.seq, upto)

    def _take(self, event: Heard) -> None:
        if event.kind in BEGUN:
            self.last = Command(event.span, event.seq, _line(asked(event.data)), event.at)
            return
        ending = ending_of(event.data)
        self.streak = 0 if ending.state == "ok" else self.streak + 1
        if self.last is not None and self.last.span == event.span:
            self.last = replace(self.last, state=ending.state, how=ending.how, ended=event.at)


def data_sql() -> str:
    """What ``Heard.data`` is made of; commands and cells may be long, and end with their output."""
    begun = ", ".join(f"'{kind.value}'" for kind in BEGUN)
    return f"""CASE WHEN e.kind IN ({begun})
        THEN jsonb_build_object('command', left(e.data->>'command', 400),
            'code', left(e.data->>'code', 400))
        ELSE jsonb_build_object('exit_code', e.data->'exit_code', 'signal', e.data->'signal',
            'timed_out', e.data->'timed_out', 'status', e.data->'status') END"""


def _line(text: str) -> str:
    line = inert((text.strip().splitlines() or [""])[0])
    return line if len(line) <= _TEXT else line[: _TEXT - 1] + "…"


def kinds() -> list[str]:
    """``KINDS`` as the database has them."""
    return [Kind(kind).value for kind in KINDS]
