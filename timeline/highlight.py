"""Python as HTML, its words marked by what they are. Anything that is no Python stays plain."""

from __future__ import annotations

import io
import keyword
import tokenize
from collections.abc import Iterator
from typing import Final

from django.utils.safestring import SafeString

from timeline.ansi import escape

#: Longer code is shown plain: it costs a page more than it gives.
LONGEST: Final = 16 * 1024
_STRINGS: Final = frozenset(
    kind
    for name in ("STRING", "FSTRING_START", "FSTRING_MIDDLE", "FSTRING_END")
    if (kind := getattr(tokenize, name, None)) is not None
)


def python_html(code: str) -> SafeString:
    """Escaped and whole; characters without a shape of their own are shown as in output."""
    if len(code) > LONGEST:
        return SafeString(escape(code))
    lines = [f"{line}\n" for line in code.split("\n")]
    lines[-1] = lines[-1][:-1]
    html: list[str] = []
    row, column = 1, 0
    for (start, end), mark in _marked(code):
        if start < (row, column):
            continue
        html.append(escape(_between(lines, (row, column), start)))
        word = escape(_between(lines, start, end))
        html.append(f'<span class="t-{mark}">{word}</span>')
        row, column = end
    html.append(escape(_between(lines, (row, column), (len(lines) + 1, 0))))
    return SafeString("".join(html))


Place = tuple[int, int]


def _marked(code: str) -> Iterator[tuple[tuple[Place, Place], str]]:
    """The places of words that have a colour, as far as the code can be read."""
    try:
        for token in tokenize.generate_tokens(io.StringIO(code).readline):
            mark = _mark(token)
            if mark:
                yield (token.start, token.end), mark
    except (tokenize.TokenError, SyntaxError, ValueError):
        return


def _mark(token: tokenize.TokenInfo) -> str:
    if token.type == tokenize.COMMENT:
        return "comment"
    if token.type in _STRINGS:
        return "string"
    if token.type == tokenize.NUMBER:
        return "number"
    return "keyword" if token.type == tokenize.NAME and keyword.iskeyword(token.string) else ""


def _between(lines: list[str], start: Place, end: Place) -> str:
    """The text from one place to another; rows count from 1."""
    (first, left), (last, right) = start, end
    if first == last:
        return lines[first - 1][left:right] if first <= len(lines) else ""
    parts = [lines[first - 1][left:] if first <= len(lines) else ""]
    parts += lines[first : last - 1]
    if last <= len(lines):
        parts.append(lines[last - 1][:right])
    return "".join(parts)
