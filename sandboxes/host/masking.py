"""Keeps secrets out of the timeline: values of the sandbox's environment, platform tokens, and what
the account's own patterns match (``patterns.py``).

Masked is what leaves the host as an event. The caller of a command gets its bytes as they are, and
so does the output file on the host's disk, which is readable by root alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from sandboxes.host.patterns import WINDOW, Patterns, Span, patterns_of
from sandboxes.host.types import Box

MASK: Final = b"[masked]"
#: Shorter values (``1``, ``true``, ``prod``) are too common to be secrets.
SHORTEST: Final = 6
#: A longer line of a secret is looked for in pieces, so that little has to be held back.
PIECE: Final = 256
#: Names whose values are settings, known to everybody and all over ordinary output.
PLAIN_NAMES: Final = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "PWD", "TERM"}
    | {"TZ", "LANG", "LANGUAGE", "LC_ALL", "LC_CTYPE", "HOSTNAME", "TMPDIR"}
)
_TOKEN: Final = rb"ork_[0-9A-Za-z]{16,64}"
_TOKEN_PART: Final = re.compile(rb"(?:o|or|ork|ork_[0-9A-Za-z]{0,63})\Z")
_TOKEN_LONGEST: Final = 68


def secrets_of(*environments: Mapping[str, str]) -> frozenset[bytes]:
    """What to look for: each line of each value, in pieces when it is long."""
    found: set[bytes] = set()
    for environment in environments:
        for name, value in environment.items():
            if name not in PLAIN_NAMES:
                found.update(_pieces(value))
    return frozenset(found)


def _pieces(value: str) -> Iterable[bytes]:
    for line in value.splitlines():
        whole = line.strip().encode("utf-8", "replace")
        if len(whole) < SHORTEST:
            continue
        while len(whole) >= PIECE + SHORTEST:
            yield whole[:PIECE]
            whole = whole[PIECE:]
        yield whole


def masker_for(box: Box, *environments: Mapping[str, str]) -> Masker:
    """For what a sandbox says, and a command of it with variables of its own."""
    secrets = secrets_of(box.own_env, *environments)
    return Masker(secrets, patterns_of(tuple(box.masking)))


@dataclass(slots=True)
class Scan:
    """How far a stream was looked through, in bytes from the beginning of what is held back.

    ``spans`` are to be hidden, some of them not shown as such yet; what lies before ``hidden`` is.
    The same bytes leave the same state however they were cut.
    """

    literal: int = 0
    words: int = 0
    hidden: int = 0
    spans: list[Span] = field(default_factory=list)

    def move(self, size: int) -> None:
        """``size`` bytes are held back no more."""
        self.literal, self.words = self.literal - size, self.words - size
        self.hidden = max(0, self.hidden - size)
        self.spans = [(start - size, end - size) for start, end in self.spans if start >= size]

    def save(self) -> list[Any]:
        """JSON for ``restore``."""
        return [self.literal, self.words, self.hidden, *self.spans]

    @classmethod
    def restore(cls, saved: Sequence[Any]) -> Scan:
        literal, words, hidden, *spans = saved
        return cls(literal, words, hidden, [(start, end) for start, end in spans])


class Masker:
    """Replaces secrets in bytes. Holds no state: a ``Scan`` says how far a stream is."""

    def __init__(self, secrets: Iterable[bytes], patterns: Patterns | None = None) -> None:
        self.patterns = patterns
        self._secrets = sorted(set(secrets), key=lambda secret: (-len(secret), secret))
        self._pattern = re.compile(b"|".join([*map(re.escape, self._secrets), _TOKEN]))
        self._longest = max([_TOKEN_LONGEST, *map(len, self._secrets)])
        self._by_first: dict[int, list[bytes]] = {}
        for secret in self._secrets:
            self._by_first.setdefault(secret[0], []).append(secret)

    def mask(self, data: bytes) -> bytes:
        """Everything that is to be hidden in ``data``, hidden."""
        scan = Scan()
        self.look(data, scan, at_end=True)
        return self.shown(data, scan)

    def mask_text(self, text: str) -> str:
        """The same for text, such as a command's line."""
        return self.mask(text.encode("utf-8", "replace")).decode("utf-8", "replace")

    @property
    def longest(self) -> int:
        """Bytes before any place that are enough to tell whether it lies inside of a secret."""
        return self._longest if self.patterns is None else max(self._longest, 2 * WINDOW)

    def look(self, data: bytes, scan: Scan, *, at_end: bool) -> int:
        """Looks for secrets from where ``scan`` is; how many bytes of ``data`` can be shown."""
        start = scan.literal
        scan.literal = len(data) if at_end else start + self.split(data[start:])
        found = self._pattern.finditer(data, start, scan.literal)
        scan.spans.extend(match.span() for match in found)
        if self.patterns is None:
            scan.words = scan.literal
        else:
            words = self.patterns.find(data, scan.words, at_end=at_end)
            scan.words = words.until
            scan.spans = sorted([*scan.spans, *words.spans])
        return min(scan.literal, scan.words)

    def shown(self, data: bytes, scan: Scan) -> bytes:
        """``data``, looked through to its end, as it can be shown. Secrets that overlap are one."""
        parts: list[bytes] = []
        at = scan.hidden
        for start, end in scan.spans:
            if start >= len(data):
                break
            if start >= at:
                parts.extend((data[at:start], MASK))
            at = max(at, end)
        scan.hidden = at if at > len(data) else 0
        parts.append(data[at:])
        return b"".join(parts)

    def split(self, data: bytes) -> int:
        """How many bytes of ``data`` can be masked now; the rest may be the start of a secret."""
        at = 0
        near_end = len(data) - self._longest
        for match in self._pattern.finditer(data):
            if match.end() > near_end:  # what lies before cannot be held back
                held = self._held_from(data, at)
                if held <= match.start():
                    return held
            at = match.end()
        return self._held_from(data, at)

    def _held_from(self, data: bytes, start: int) -> int:
        """Where the longest end of ``data`` begins that could go on to be a secret."""
        for at in range(max(start, len(data) - self._longest + 1), len(data)):
            if data[at] in self._by_first and self._could_become(data[at:]):
                return self._sooner(at, data, start)
        return self._sooner(len(data), data, start)

    def _could_become(self, rest: bytes) -> bool:
        candidates = self._by_first[rest[0]]
        return any(len(secret) > len(rest) and secret.startswith(rest) for secret in candidates)

    @staticmethod
    def _sooner(at: int, data: bytes, start: int) -> int:
        match = _TOKEN_PART.search(data, max(start, len(data) - _TOKEN_LONGEST))
        return min(at, match.start()) if match else at
