"""A write's diff as rows to show: what each line is, its numbers, its text with colours."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from django.utils.safestring import SafeString

from timeline.highlighting import highlighted, language_of

_RANGE: Final = re.compile(r"@@ -(\d+)(?:,\d+)? \+(\d+)(?:,\d+)? @@")


@dataclass(frozen=True, slots=True)
class Line:
    """``old`` and ``new`` are its numbers before and after; None where it is not."""

    kind: Literal["same", "added", "removed", "hunk", "note"]
    html: SafeString | str
    old: int | None = None
    new: int | None = None


def diff_lines(data: Mapping[str, Any]) -> list[Line]:
    """The rows of a ``file.written`` event's diff; none where it has none."""
    diff = data.get("diff")
    if not isinstance(diff, str) or not diff:
        return []
    language = language_of(str(data.get("path", "")))
    return [line for hunk in _hunks(diff.split("\n")) for line in _rows(hunk, language)]


def _hunks(lines: Sequence[str]) -> Iterator[list[str]]:
    hunk: list[str] = []
    for line in lines:
        if line.startswith("@@ ") and hunk:
            yield hunk
            hunk = []
        hunk.append(line)
    if hunk:
        yield hunk


def _rows(hunk: Sequence[str], language: str) -> Iterator[Line]:
    """Each side of a hunk is highlighted as the text that it is."""
    match = _RANGE.match(hunk[0])
    old, new = (int(match[1]), int(match[2])) if match else (1, 1)
    before = iter(_side(hunk, "-", language))
    after = iter(_side(hunk, "+", language))
    for line in hunk:
        if line.startswith("+"):
            yield Line("added", next(after), None, new)
            new += 1
        elif line.startswith("-"):
            yield Line("removed", next(before), old, None)
            old += 1
        elif line.startswith(" "):
            next(before)
            yield Line("same", next(after), old, new)
            old, new = old + 1, new + 1
        else:
            yield Line("hunk" if line.startswith("@@") else "note", line.removeprefix("\\ "))


def _side(hunk: Sequence[str], mark: str, language: str) -> list[SafeString]:
    text = "\n".join(line[1:] for line in hunk if line[:1] in (mark, " "))
    return highlighted(text, language)
