"""Keeps secrets out of the timeline: values of the sandbox's environment, and platform tokens.

Masked is what leaves the host as an event. The caller of a command gets its bytes as they are, and
so does the output file on the host's disk, which is readable by root alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Final

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


class Masker:
    """Replaces secrets in bytes. Holds no state: ``split`` says what has to wait for more."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._secrets = sorted(set(secrets), key=lambda secret: (-len(secret), secret))
        self._pattern = re.compile(b"|".join([*map(re.escape, self._secrets), _TOKEN]))
        self._longest = max([_TOKEN_LONGEST, *map(len, self._secrets)])
        self._by_first: dict[int, list[bytes]] = {}
        for secret in self._secrets:
            self._by_first.setdefault(secret[0], []).append(secret)

    def mask(self, data: bytes) -> bytes:
        """Everything that is to be hidden in ``data``, hidden."""
        return self._pattern.sub(MASK, data)

    def mask_text(self, text: str) -> str:
        """The same for text, such as a command's line."""
        return self.mask(text.encode("utf-8", "replace")).decode("utf-8", "replace")

    @property
    def longest(self) -> int:
        """Bytes of the longest secret."""
        return self._longest

    def leave(self, data: bytes, at: int) -> tuple[int, bytes]:
        """Where to begin to read at ``at`` or behind it, not inside a secret, and what to show for
        the secret that ``at`` lies inside of."""
        for match in self._pattern.finditer(data):
            if match.start() >= at:
                break
            if match.end() > at:
                return match.end(), MASK
        return at, b""

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
