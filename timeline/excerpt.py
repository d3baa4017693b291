"""What a search shows of output: the lines that were found, and a few around them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from timeline import ansi
from timeline.events import OUTPUT_KINDS, Event
from timeline.words import Terms

AROUND: Final = 2  # lines
MOST_LINES: Final = 40
_WIDE: Final = 400  # characters of a line
_GAP: Final = "⋯"


def excerpt(event: Event, terms: Terms) -> Event:
    """An event of output with only what its text was found by; any other as it is."""
    if event.kind not in OUTPUT_KINDS or not terms.parts:
        return event
    lines = ansi.plain(str(event.data.get("text", ""))).splitlines()
    shown = _shown(lines, terms)
    text = "\n".join(_joined(lines, shown, terms.parts)) + "\n"
    return replace(event, data={**event.data, "text": text, "sgr": ""})


def _shown(lines: Sequence[str], terms: Terms) -> list[int]:
    found = [i for i, line in enumerate(lines) if terms.touch(line.lower())]
    near = {at for i in found for at in range(i - AROUND, i + AROUND + 1)}
    return sorted(at for at in near if 0 <= at < len(lines))[:MOST_LINES]


def _joined(lines: Sequence[str], shown: Sequence[int], parts: Sequence[str]) -> list[str]:
    joined: list[str] = []
    before = -1
    for at in shown:
        if at != before + 1:
            joined.append(_GAP)
        joined.append(_narrow(lines[at], parts))
        before = at
    if before < len(lines) - 1:
        joined.append(_GAP)
    return joined


def _narrow(line: str, parts: Sequence[str]) -> str:
    """A line that is too wide, around the first part that is in it."""
    if len(line) <= _WIDE:
        return line
    lowered = line.lower()
    at = min((lowered.find(part) for part in parts if part in lowered), default=0)
    start = max(0, at - _WIDE // 4)
    end = start + _WIDE
    return f"{_GAP if start else ''}{line[start:end]}{_GAP if end < len(line) else ''}"
