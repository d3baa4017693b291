"""What can be found in an event, and the words by which it is looked up."""

from __future__ import annotations

import re
from base64 import b32encode
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b
from typing import Any, Final

from timeline import ansi
from timeline.events import OUTPUT_KINDS, Event, Kind

LONGEST_WORD: Final = 64
_SHORTEST_WORD: Final = 2
_MOST_TERMS: Final = 12
_WORD: Final = re.compile(r"[^\W_]+")
_OUTPUTS: Final = (*OUTPUT_KINDS, Kind.TERMINAL_OUTPUT)
_NOT_TEXT: Final = frozenset({"command_id", "cell_id", "stream", "sgr", "png"})


def text_of(kind: str, data: dict[str, Any]) -> str:
    """All that a reader could look for in an event, in lower case and without escapes."""
    if kind in _OUTPUTS:
        return ansi.plain(str(data.get("text", ""))).lower()
    return ansi.plain("\n".join(_strings(data))).lower()


def _strings(data: dict[str, Any]) -> Iterator[str]:
    for name, value in data.items():
        if isinstance(value, str) and name not in _NOT_TEXT:
            yield value
        elif isinstance(value, list):
            yield from (item for item in value if isinstance(item, str))


def words_of(text: str) -> set[str]:
    """The words of a text in lower case, cut to 64 characters. An underscore parts words too."""
    words = set(_WORD.findall(text))
    for long in [word for word in words if len(word) > LONGEST_WORD]:
        words.remove(long)
        words.add(long[:LONGEST_WORD])
    return words


def mark_of(sandbox_id: str) -> str:
    """What all lexemes of a sandbox begin with: its words lie together in the index, and no
    other's are read with them. Two sandboxes that share one are told apart by their rows."""
    return b32encode(blake2b(sandbox_id.encode(), digest_size=5).digest()).decode().lower()


@lru_cache(maxsize=256)
def _pattern(part: str) -> re.Pattern[str]:
    begins = r"(?<![^\W_])" if part[0].isalnum() else ""
    return re.compile(begins + re.escape(part))


@dataclass(frozen=True, slots=True)
class Terms:
    """What somebody typed to search for: an event matches that has every part of it.

    Parts are separated by blanks. Each begins where a word does, and may end within one; what
    lies between words, as in ``main.py``, has to be there as typed.
    """

    parts: tuple[str, ...]

    @classmethod
    def of(cls, typed: str) -> Terms:
        """At most twelve parts; empty for nothing but blanks."""
        return cls(tuple(typed.lower().split()[:_MOST_TERMS]))

    def match(self, event: Event) -> bool:
        """Whether every part is in the event."""
        return not self.parts or self.fit(text_of(event.kind, event.data))

    def fit(self, text: str) -> bool:
        """The same for text in lower case."""
        return all(part in text and _pattern(part).search(text) for part in self.parts)

    def touch(self, text: str) -> bool:
        """Whether any part is in a text in lower case."""
        return any(part in text and _pattern(part).search(text) for part in self.parts)

    @property
    def words(self) -> list[str]:
        """The words that the index is asked for; parts of one letter are left to ``match``."""
        found = {word for part in self.parts for word in words_of(part)}
        return sorted(word for word in found if len(word) >= _SHORTEST_WORD)

    def tsquery(self, sandbox_id: str) -> str:
        """For PostgreSQL: every word, or one that begins with it. Words are letters and digits."""
        mark = mark_of(sandbox_id)
        return " & ".join(f"'{mark}{word}':*" for word in self.words)
