"""Source text as lines of HTML with classes, for pages without a single inline style.

A file is whatever a sandbox made of it, so what is highlighted is bounded: a few languages whose
lexers are known to behave, so many bytes, lines of so many characters, and a moment of processor
time, after which the rest is shown plain.
"""

from __future__ import annotations

import posixpath
import time
from collections.abc import Iterator
from functools import cache
from typing import Any, Final

from django.utils.html import escape
from django.utils.safestring import SafeString
from pygments.lexer import Lexer
from pygments.lexers import get_lexer_by_name
from pygments.token import STANDARD_TYPES, Token

from timeline.inert import inert_line

BYTES_LIMIT: Final = 256 * 1024
LINE_LIMIT: Final = 2000
SECONDS: Final = 0.15

_LANGUAGES: Final[dict[str, tuple[str, ...]]] = {
    "python": (".py", ".pyi"),
    "javascript": (".js", ".mjs", ".cjs", ".jsx"),
    "typescript": (".ts", ".tsx", ".mts"),
    "json": (".json", ".jsonl", ".ndjson", ".webmanifest"),
    "html": (".html", ".htm", ".vue"),
    "css": (".css", ".scss"),
    "bash": (".sh", ".bash", ".zsh", ".env"),
    "yaml": (".yaml", ".yml"),
    "toml": (".toml", "Pipfile"),
    "ini": (".ini", ".cfg", ".conf", ".editorconfig"),
    "markdown": (".md", ".markdown"),
    "sql": (".sql",),
    "c": (".c", ".h"),
    "cpp": (".cc", ".cpp", ".cxx", ".hpp"),
    "go": (".go",),
    "rust": (".rs",),
    "java": (".java",),
    "ruby": (".rb", "Gemfile", "Rakefile"),
    "php": (".php",),
    "xml": (".xml", ".svg"),
    "make": ("Makefile", ".mk"),
    "docker": ("Dockerfile",),
    "diff": (".diff", ".patch"),
}
_BY_ENDING: Final = {ending: name for name, endings in _LANGUAGES.items() for ending in endings}
#: Where only a part of a token's kind matters to its colour.
_KEPT: Final = frozenset({"k", "kc", "n", "nb", "nc", "nf", "nd", "nt", "na", "s", "m", "o", "c"})


def language_of(path: str) -> str:
    """The language of a file by its name; empty for plain text."""
    name = posixpath.basename(path)
    return _BY_ENDING.get(name) or _BY_ENDING.get(posixpath.splitext(name)[1].lower(), "")


def highlighted(text: str, language: str) -> list[SafeString]:
    """``text`` line by line, without newlines, everything in it escaped."""
    plain = text.split("\n")
    if not language or len(text) > BYTES_LIMIT or max(map(len, plain)) > LINE_LIMIT:
        return [SafeString(escape(inert_line(line))) for line in plain]
    return _lines(_tokens(text, language))


def _tokens(text: str, language: str) -> Iterator[tuple[str, str]]:
    """Class and text of each token; what time does not suffice for comes as one plain one."""
    lexer = _lexer(language)
    ends = time.thread_time() + SECONDS
    at = 0
    for start, kind, value in lexer.get_tokens_unprocessed(text):
        if time.thread_time() > ends:
            break
        yield _class_of(kind), value
        at = start + len(value)
    if at < len(text):
        yield "", text[at:]


def _lines(tokens: Iterator[tuple[str, str]]) -> list[SafeString]:
    lines: list[list[str]] = [[]]
    for name, value in tokens:
        first, *others = value.split("\n")
        lines[-1].append(_span(name, first))
        lines.extend([_span(name, part)] for part in others)
    return [SafeString("".join(parts)) for parts in lines]


def _span(name: str, text: str) -> str:
    if not text:
        return ""
    shown = escape(inert_line(text))
    return f'<span class="hl-{name}">{shown}</span>' if name else shown


@cache
def _lexer(language: str) -> Lexer:
    lexer = get_lexer_by_name(language, stripnl=False, ensurenl=False)
    list(lexer.get_tokens_unprocessed("\n"))  # compiles its patterns, which takes its own time
    return lexer


@cache
def _class_of(kind: Any) -> str:
    """The nearest of the classes that have a colour."""
    while kind is not Token and kind in STANDARD_TYPES:
        name = STANDARD_TYPES[kind]
        if name in _KEPT:
            return "" if name == "n" else name
        kind = kind.parent
    return ""
