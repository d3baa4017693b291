"""Two runs beside each other: their commands aligned, and what came out differently."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from django.db import connection
from rapidfuzz.distance import LCSseq

from sandboxes.models import Sandbox
from timeline import ansi
from timeline.commands import BEGUN, ENDED, asked, ending_of
from timeline.events import Event
from timeline.selectors import events_after, files_written

MOST: Final = 500
#: Of each output that is compared line by line.
MOST_CHARACTERS: Final = 200_000
MOST_LINES: Final = 4000
_FILES: Final = 1000
_DIGESTS: Final = """
    SELECT span, md5(string_agg(data->>'stream' || ' ' || (data->>'text'), '' ORDER BY seq))
    FROM timeline_event
    WHERE sandbox_id = %s AND seq BETWEEN %s AND %s
        AND kind IN ('command.output', 'code.output') AND span = ANY(%s)
    GROUP BY span
"""
_OUTPUT: Final = """
    SELECT data->>'text' FROM timeline_event
    WHERE sandbox_id = %s AND seq BETWEEN %s AND %s
        AND kind IN ('command.output', 'code.output') AND span = %s
    ORDER BY seq LIMIT 2000
"""


@dataclass(slots=True)
class Step:
    """A command or cell of a run. ``state`` is ok, late, bad or busy; ``output`` a digest."""

    seq: int
    span: str
    text: str
    cwd: str
    end: int = 0
    state: str = "busy"
    how: str = "running"
    duration_ms: float | None = None
    output: str = ""

    @property
    def key(self) -> tuple[str, str]:
        return (self.text, self.cwd)


@dataclass(frozen=True, slots=True)
class Pair:
    """The same step in both runs, or one that only one of them has."""

    left: Step | None
    right: Step | None

    @property
    def same_end(self) -> bool:
        if self.left is None or self.right is None:
            return False
        return self.left.how == self.right.how

    @property
    def same_output(self) -> bool:
        if self.left is None or self.right is None:
            return False
        return self.left.output == self.right.output

    @property
    def differs(self) -> bool:
        return not (self.same_end and self.same_output)

    @property
    def slower(self) -> str:
        """How much longer the right one took where that is worth a word: ``3.1×``."""
        before = self.left.duration_ms if self.left else None
        after = self.right.duration_ms if self.right else None
        if before is None or after is None or abs(after - before) < 200:
            return ""
        times = after / max(before, 1)
        return f"{times:.1f}×" if times >= 1.5 or times <= 0.67 else ""


@dataclass(frozen=True, slots=True)
class File:
    """A file that was written, with its last size in each run; None where it was not."""

    path: str
    left: int | None
    right: int | None

    @property
    def differs(self) -> bool:
        return self.left != self.right


@dataclass(frozen=True, slots=True)
class Comparison:
    """All of it. ``cut`` says that one run has more steps than are compared."""

    pairs: list[Pair]
    files: list[File]
    cut: bool
    different: int = field(init=False)

    def __post_init__(self) -> None:
        count = sum(pair.differs for pair in self.pairs) + sum(file.differs for file in self.files)
        object.__setattr__(self, "different", count)


def compare(left: Sandbox, right: Sandbox) -> Comparison:
    """The first steps of both, aligned by their longest common sequence."""
    (ours, more), (theirs, others) = _steps(left.id), _steps(right.id)
    pairs = _aligned(ours, theirs)
    return Comparison(pairs, _files(left.id, right.id), more or others)


def _steps(sandbox_id: str) -> tuple[list[Step], bool]:
    events = events_after(
        sandbox_id=sandbox_id, kinds=[kind.value for kind in (*BEGUN, *ENDED)], limit=2 * MOST
    )
    steps: dict[str, Step] = {}
    for event in events:
        if event.span is None:
            continue
        if event.kind in BEGUN:
            steps.setdefault(event.span, _step(event, event.span))
        elif event.span in steps:
            _end(steps[event.span], event)
    found = list(steps.values())[:MOST]
    _digest(sandbox_id, found)
    return found, len(events) == 2 * MOST


def _step(event: Event, span: str) -> Step:
    return Step(event.seq, span, asked(event.data), str(event.data.get("cwd") or ""))


def _end(step: Step, event: Event) -> None:
    ending = ending_of(event.data)
    step.end, step.duration_ms = event.seq, event.data.get("duration_ms")
    step.how, step.state = ending.how, ending.state


def _digest(sandbox_id: str, steps: Sequence[Step]) -> None:
    if not steps:
        return
    last = max(max(step.seq, step.end) for step in steps)
    spans = [step.span for step in steps]
    with connection.cursor() as cursor:
        cursor.execute(_DIGESTS, [sandbox_id, steps[0].seq, last, spans])
        digests = dict(cursor.fetchall())
    for step in steps:
        step.output = digests.get(step.span) or ""


def _aligned(left: Sequence[Step], right: Sequence[Step]) -> list[Pair]:
    pairs: list[Pair] = []
    numbers: dict[tuple[str, str], int] = {}
    ours, theirs = (
        [numbers.setdefault(step.key, len(numbers)) for step in steps] for steps in (left, right)
    )
    for code in LCSseq.opcodes(ours, theirs):
        mine = left[code.src_start : code.src_end]
        yours = right[code.dest_start : code.dest_end]
        if code.tag == "equal":
            pairs += [Pair(one, other) for one, other in zip(mine, yours, strict=True)]
        else:
            pairs += [Pair(one, None) for one in mine] + [Pair(None, one) for one in yours]
    return pairs


def _files(left: str, right: str) -> list[File]:
    sizes = [
        {file.path: file.size for file in files_written(sandbox_id=one, limit=_FILES)}
        for one in (left, right)
    ]
    paths = sorted(sizes[0].keys() | sizes[1].keys())
    return [File(path, sizes[0].get(path), sizes[1].get(path)) for path in paths]


def output_of(sandbox_id: str, seq: int) -> tuple[str, bool] | None:
    """What the step that began at ``seq`` printed, and whether that is only its beginning."""
    found = events_after(sandbox_id=sandbox_id, after=seq - 1, limit=1)
    if not found or found[0].seq != seq or found[0].kind not in BEGUN or not found[0].span:
        return None
    with connection.cursor() as cursor:
        cursor.execute(_OUTPUT, [sandbox_id, seq, seq + 50_000, found[0].span])
        text = ansi.plain("".join(row[0] or "" for row in cursor.fetchall()))
    return text[:MOST_CHARACTERS], len(text) > MOST_CHARACTERS


def outputs_diff(left: str, right: str) -> str:
    """A unified diff of two outputs without its head; empty where they are alike."""
    ours, theirs = left.splitlines()[:MOST_LINES], right.splitlines()[:MOST_LINES]
    if len(ours) * len(theirs) > MOST_LINES * 500:
        ours, theirs = ours[:500], theirs[:500]
    return "\n".join(list(difflib.unified_diff(ours, theirs, lineterm="", n=2))[2:])
