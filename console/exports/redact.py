"""What a file that leaves the house does not say: shapes of secrets, whatever masked them before.

Every pattern reads its input once, whatever the input is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Final

REDACTED: Final = "[redacted]"
_HELD: Final = 4096
_SHAPES: Final = re.compile(
    r"ork_[0-9A-Za-z]{16,64}"
    r"|\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"
    r"|\bgh[pousr]_[0-9A-Za-z]{20,255}|\bgithub_pat_\w{20,255}"
    r"|\bglpat-[\w-]{20,64}"
    r"|\bsk-[\w-]{20,255}"
    r"|\bxox[abprs]-[\w-]{10,255}"
    r"|\bAIza[\w-]{35}"
    r"|\beyJ[\w-]{8,4000}\.[\w-]{8,4000}\.[\w-]{8,4000}"
    r"|(?<=://)[^\s/:@]{1,64}:[^\s/@]{1,256}(?=@)"
    r"|(?i:(?<=bearer ))[\w.~+/=-]{16,4000}"
    r"|[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63}){1,4}"
)
_KEY: Final = re.compile(r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY-----")
_KEY_END: Final = re.compile(r"-----END [A-Z ]{0,40}PRIVATE KEY-----")
_KEY_BEGUN: Final = re.compile(r"-----BEGIN[A-Z ]{0,60}-{0,4}\Z")
_MARK: Final = 80
_SPACE: Final = re.compile(r"\s(?=\S*\Z)")


def redact(text: str) -> str:
    """The text without what looks like a secret or an address of e-mail."""
    return Redactor().add("", text, last=True)


@dataclass(slots=True)
class _Stream:
    held: str = ""
    in_key: bool = False
    key_end: str = ""


@dataclass(slots=True)
class Redactor:
    """The same for streams that come in pieces: what may go on in the next piece is held back."""

    _streams: dict[str, _Stream] = field(default_factory=dict)

    def add(self, stream: str, text: str, *, last: bool = False) -> str:
        """What can be said of a stream by now, after this piece of it."""
        one = self._streams.setdefault(stream, _Stream())
        # What was held back in front of a key is not part of it.
        clean, text = (one.held, text) if one.in_key else ("", one.held + text)
        text = clean + _without_keys(one, text)
        cut = len(text) if last else _cut(text)
        one.held = text[cut:]
        if last:
            del self._streams[stream]
        return _SHAPES.sub(REDACTED, text[:cut])

    def end(self, stream: str) -> str:
        """What was held back of a stream that ended."""
        return self.add(stream, "", last=True) if stream in self._streams else ""


def _cut(text: str) -> int:
    space = _SPACE.search(text, max(0, len(text) - _HELD))
    cut = space.end() if space else 0 if len(text) <= _HELD else len(text)
    begun = _KEY_BEGUN.search(text, max(0, len(text) - _MARK))
    return min(cut, begun.start()) if begun else cut


def _without_keys(one: _Stream, text: str) -> str:
    """Private keys go as a whole, however many pieces they come in."""
    kept: list[str] = []
    text, one.key_end = one.key_end + text, ""
    while text:
        if one.in_key:
            end = _KEY_END.search(text)
            if end is None:
                one.key_end = text[-_MARK:]
                return "".join(kept)
            one.in_key, text = False, text[end.end() :]
        begin = _KEY.search(text)
        if begin is None:
            break
        kept += [text[: begin.start()], REDACTED]
        one.in_key, text = True, text[begin.end() :]
    return "".join(kept) + text
