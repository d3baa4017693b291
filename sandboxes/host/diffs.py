"""What a write changed, line by line, within bounds that hold for whatever the bytes are.

Lines are compared by their longest common subsequence (``rapidfuzz``, some 20 times faster than the
standard library and without its worst cases): 64 KiB of any lines take milliseconds.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

from rapidfuzz.distance import Indel

from sandboxes.host.masking import Masker

#: Bytes of a file, before and after, that are compared.
TEXT_LIMIT: Final = 64 * 1024
#: Bytes of a diff, and of one line of it, that an event carries.
DIFF_LIMIT: Final = 64 * 1024
LINE_LIMIT: Final = 4 * 1024
#: Lines between the first and the last change beyond which all of them count as changed.
LINES_COMPARED: Final = 4096
CONTEXT: Final = 3

_NO_NEWLINE: Final = "\\ No newline at end of file"


@dataclass(frozen=True, slots=True)
class Before:
    """What was at a path. ``content`` is None for what is too large, or no regular file."""

    exists: bool
    content: bytes | None = None


@dataclass(frozen=True, slots=True)
class _Hunk:
    """Lines that stand for each other: ``old[a:b]`` by ``new[c:d]``; equal when they are."""

    a: int
    b: int
    c: int
    d: int
    equal: bool


def change(before: Before, after: bytes | None, masker: Masker) -> dict[str, Any]:
    """What an event says of a write: ``diff``, ``added`` and ``removed`` (lines), or why not.

    ``diff`` is unified, without the two lines that name the files, and masked; ``diff_left_out``
    counts lines beyond its bounds. ``created`` when there was nothing. In place of a diff,
    ``no_diff`` is ``binary`` or ``too_large``; ``after`` is None for the latter.
    """
    created = {} if before.exists else {"created": True}
    if after is None or len(after) > TEXT_LIMIT or (before.exists and before.content is None):
        return {**created, "no_diff": "too_large"}
    old, new = _lines(before.content or b""), _lines(after)
    if old is None or new is None:
        return {**created, "no_diff": "binary"}
    hunks = list(_compared(old, new))
    changed = [hunk for hunk in hunks if not hunk.equal]
    added, removed = (sum(h.d - h.c for h in changed), sum(h.b - h.a for h in changed))
    text, left_out = _bounded(masker.mask_text("\n".join(_unified(old, new, hunks))))
    told = {**created, "diff": text, "added": added, "removed": removed}
    return {**told, "diff_left_out": left_out} if left_out else told


def _lines(content: bytes) -> list[str] | None:
    """Lines with their newline, so that a missing last one is a difference; None for no text."""
    if b"\0" in content:
        return None
    try:
        text = content.decode()
    except UnicodeDecodeError:
        return None
    lines = [line + "\n" for line in text.split("\n")]
    last = lines.pop()[:-1]
    return [*lines, last] if last else lines


def _compared(old: Sequence[str], new: Sequence[str]) -> Iterator[_Hunk]:
    """All of both, in order: what is the same at both ends first, then what lies between."""
    most = min(len(old), len(new))
    head = next((i for i in range(most) if old[i] != new[i]), most)
    tail = next((i for i in range(most - head) if old[-1 - i] != new[-1 - i]), most - head)
    if head:
        yield _Hunk(0, head, 0, head, equal=True)
    yield from _between(old[head : len(old) - tail], new[head : len(new) - tail], head)
    if tail:
        yield _Hunk(len(old) - tail, len(old), len(new) - tail, len(new), equal=True)


def _between(old: Sequence[str], new: Sequence[str], at: int) -> Iterator[_Hunk]:
    if not old and not new:
        return
    if len(old) > LINES_COMPARED or len(new) > LINES_COMPARED:
        yield _Hunk(at, at + len(old), at, at + len(new), equal=False)
        return
    numbers: dict[str, int] = {}
    coded = [[numbers.setdefault(line, len(numbers)) for line in side] for side in (old, new)]
    for code in Indel.opcodes(*coded):
        yield _Hunk(
            a=at + code.src_start,
            b=at + code.src_end,
            c=at + code.dest_start,
            d=at + code.dest_end,
            equal=code.tag == "equal",
        )


def _unified(old: Sequence[str], new: Sequence[str], hunks: Sequence[_Hunk]) -> Iterator[str]:
    """The lines of a unified diff."""
    for group in _grouped(hunks):
        first, last = group[0], group[-1]
        yield f"@@ -{_range(first.a, last.b)} +{_range(first.c, last.d)} @@"
        for hunk in group:
            if hunk.equal:
                yield from _marked(" ", old[hunk.a : hunk.b])
            else:
                yield from _marked("-", old[hunk.a : hunk.b])
                yield from _marked("+", new[hunk.c : hunk.d])


def _grouped(hunks: Sequence[_Hunk]) -> Iterator[list[_Hunk]]:
    """Changes with up to three lines around them; those that share such lines go together."""
    group: list[_Hunk] = []
    for index, hunk in enumerate(_joined(hunks)):
        if not hunk.equal:
            group.append(hunk)
            continue
        size = hunk.b - hunk.a
        if group and size > 2 * CONTEXT:
            yield [*group, _part(hunk, 0, CONTEXT)]
            group = []
        if index == 0 or not group:
            group = [_part(hunk, max(0, size - CONTEXT), size)]
        else:
            group.append(hunk)
    if any(not hunk.equal for hunk in group):
        if group[-1].equal:
            group[-1] = _part(group[-1], 0, CONTEXT)
        yield group


def _joined(hunks: Sequence[_Hunk]) -> Iterator[_Hunk]:
    """Neighbouring changes as one, so that what is removed comes before what is added."""
    held: _Hunk | None = None
    for hunk in hunks:
        if held and not held.equal and not hunk.equal:
            held = _Hunk(held.a, hunk.b, held.c, hunk.d, equal=False)
            continue
        if held:
            yield held
        held = hunk
    if held:
        yield held


def _part(hunk: _Hunk, start: int, end: int) -> _Hunk:
    size = hunk.b - hunk.a
    end = min(end, size)
    return _Hunk(hunk.a + start, hunk.a + end, hunk.c + start, hunk.c + end, equal=True)


def _range(start: int, end: int) -> str:
    count = end - start
    first = start + 1 if count else start
    return f"{first}" if count == 1 else f"{first},{count}"


def _marked(mark: str, lines: Iterable[str]) -> Iterator[str]:
    for line in lines:
        yield mark + line.removesuffix("\n")
        if not line.endswith("\n"):
            yield _NO_NEWLINE


def _bounded(text: str) -> tuple[str, int]:
    """What an event can carry, and how many lines that leaves out. ``text`` is masked already, so
    that no cut shows the beginning of a secret."""
    lines = text.split("\n") if text else []
    shown: list[str] = []
    room = DIFF_LIMIT
    for line in lines:
        short = line if len(line) <= LINE_LIMIT else _clipped(line)
        room -= len(short.encode()) + 1
        if room < 0:
            break
        shown.append(short)
    return "\n".join(shown), len(lines) - len(shown)


def _clipped(line: str) -> str:
    return f"{line[:LINE_LIMIT]}… ({len(line) - LINE_LIMIT:,} more characters)"
