"""Shapes of secrets that an account's owners describe: regular expressions, found within words.

They are RE2's, so a search takes time in proportion to the text, whatever the expression. A word
is what stands between spaces, control characters and colour sequences; a match never crosses
one, so that only the last word of what came has to wait for more. A word may be longer than what
can wait: it is looked at in windows, and each match of up to ``LONGEST`` bytes lies whole in one.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Protocol

#: Bytes of a match that is found wherever it lies, however long its word is.
LONGEST: Final = 512
#: Bytes of a long word that are looked at together.
WINDOW: Final = 2 * LONGEST
#: How many an account has, and characters of one.
MOST: Final = 20
LENGTH: Final = 300

Span = tuple[int, int]

_ESCAPE: Final = re.compile(rb"\x1b\[[0-9;:?]{0,32}[@-~]")
_ESCAPE_PART: Final = re.compile(rb"\x1b(?:\[[0-9;:?]{0,32})?\Z")
_ESCAPE_LONGEST: Final = 34
_SEPARATORS: Final = bytes([*range(0x21), 0x7F])
_TO_LINES: Final = bytes.maketrans(_SEPARATORS, b"\n" * len(_SEPARATORS))
_LONG_WORD: Final = re.compile(rb"[^\n]{%d,}" % (WINDOW + 1))
#: What means the whole text's ends, or any byte at all, separators too.
_REFUSED: Final = re.compile(r"(?:[^\\]|^)(?:\\\\)*(\\[AzZC])")
_PROGRAM_BYTES: Final = 1 << 20


class _Match(Protocol):
    def start(self) -> int: ...
    def end(self) -> int: ...


class _Regexp(Protocol):
    def finditer(self, text: bytes) -> Iterator[_Match]: ...


class InvalidPattern(ValueError):  # noqa: N818 - reads as what it says
    """An expression that cannot be looked for. The message is a sentence for who wrote it."""


@dataclass(frozen=True, slots=True)
class Found:
    """Spans to hide, in order, and the place from which the rest has to wait for more."""

    spans: list[Span]
    until: int


class Patterns:
    """Expressions ready to be looked for. Holds no state between calls."""

    def __init__(self, expressions: Sequence[str]) -> None:
        """Raises ``InvalidPattern``."""
        for expression in expressions:
            _compiled(expression)
        either = "|".join(f"(?:{expression})" for expression in expressions)
        self._pattern = _compiled(either, of=len(expressions) + 1)

    def find(self, data: bytes, start: int = 0, *, at_end: bool) -> Found:
        """What to hide from ``start`` on, where a word or a window of one begins.

        Without ``at_end`` the last word waits, but for the windows of it that are whole.
        """
        lines = _as_lines(data)
        complete = len(data) if at_end else _last_word(data, lines, start)
        spans: list[Span] = []
        at = start
        for word in _LONG_WORD.finditer(lines, start, complete):
            spans.extend(self._spans(lines, at, word.start()))
            at = self._windows(lines, word.start(), word.end(), spans, whole=True)
        spans.extend(self._spans(lines, at, complete))
        if not at_end:
            end = unfinished_escape(data, complete)
            complete = self._windows(lines, complete, end, spans, whole=False)
        return Found(spans, complete)

    def _spans(self, lines: bytes, start: int, end: int) -> Iterator[Span]:
        for match in self._pattern.finditer(lines[start:end]):
            if match.end() > match.start():
                yield start + match.start(), start + match.end()

    def _windows(
        self, lines: bytes, start: int, end: int, spans: list[Span], *, whole: bool
    ) -> int:
        """Looks through one word, which is ``whole`` or may go on; how far it got."""
        while end - start > WINDOW:
            behind = start + LONGEST
            for span in self._spans(lines, start, start + WINDOW):
                if span[0] >= start + LONGEST:
                    break
                spans.append(span)
                behind = max(behind, span[1])
            start = behind
        if not whole:
            return start
        spans.extend(self._spans(lines, start, end))
        return end


def check_pattern(expression: str) -> None:
    """Raises ``InvalidPattern`` for one that is no expression, or may hide nothing at all."""
    pattern = _compiled(expression)
    if any(match.end() == match.start() for match in pattern.finditer(b"a1-\nb")):
        raise InvalidPattern(
            "It also matches where there is no text at all. Say what has to be there: + instead "
            "of *, or characters beside \\b, ^ and $."
        )


@lru_cache(maxsize=64)
def patterns_of(expressions: tuple[str, ...]) -> Patterns | None:
    """The same object for the same expressions, whichever sandboxes have them; None for none."""
    return Patterns(expressions) if expressions else None


def _as_lines(data: bytes) -> bytes:
    """The same length, with line ends instead of everything that ends a word."""
    if b"\x1b" in data:
        data = _ESCAPE.sub(lambda found: b"\n" * len(found[0]), data)
    return data.translate(_TO_LINES)


def _last_word(data: bytes, lines: bytes, start: int) -> int:
    """Where the word begins that ``data`` may end in the middle of.

    An escape sequence that is not whole yet ends a word, and waits as if it were one.
    """
    escape = unfinished_escape(data, start)
    return escape if escape < len(data) else max(start, lines.rfind(b"\n") + 1)


def unfinished_escape(data: bytes, start: int = 0) -> int:
    """Where an escape sequence begins, from ``start`` on, that ``data`` ends in the middle of, else
    its length."""
    part = _ESCAPE_PART.search(data, max(start, len(data) - _ESCAPE_LONGEST))
    return part.start() if part else len(data)


@lru_cache(maxsize=256)
def _compiled(expression: str, *, of: int = 1) -> _Regexp:
    import re2  # not before there is one: few hosts have any, and it takes memory

    if not expression or len(expression) > (LENGTH if of == 1 else MOST * (LENGTH + 5)):
        raise InvalidPattern(f"Write an expression of 1 to {LENGTH} characters.")
    if refused := _REFUSED.search(expression):
        raise InvalidPattern(f"{refused[1]} cannot be used here; ^ and $ are the ends of a word.")
    options = re2.Options()
    options.never_nl = True
    options.log_errors = False
    options.never_capture = True
    options.max_mem = _PROGRAM_BYTES * of
    try:
        compiled: _Regexp = re2.compile(f"(?m){expression}".encode(), options)
    except re2.error as error:
        raise InvalidPattern(_why(error)) from error
    return compiled


def _why(error: Exception) -> str:
    text = error.args[0] if error.args else ""
    text = text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
    text = text.replace("(?m)", "")
    return f"It is not a regular expression that can be used here: {text[:200]}."
