"""What somebody who comes late has to be sent, so that their screen is as everybody's.

Kept are the last 64 KiB of output and the modes that the terminal was in where they begin: colours,
alternate screen, mouse, scroll region. What was drawn before them and is still to be seen is drawn
again by the program itself, which is told that the size has changed (``needs_redraw``).
"""

from __future__ import annotations

import re
from typing import Final

from sandboxes.host.output import Rendition

#: Bytes of output that are kept, and by how much they may be exceeded before some are let go.
KEPT: Final = 64 * 1024
_SLACK: Final = 16 * 1024
#: How far from where it may begin a line is looked for.
_LINE: Final = 4096
_PARTIAL: Final = 64

_SEQUENCE: Final = re.compile(
    rb"\x1b(?:\[(\?)([0-9;]{1,40})([hl])|\[([0-9;]{0,16})r|\[(4)([hl])|([=>c])|(\[!p)|\(([0B]))"
)
_ALTERNATE: Final = (47, 1047, 1049)
_PRIVATE: Final = frozenset(
    {1, 7, 12, 25, 66, 1000, 1002, 1003, 1004, 1005, 1006, 1015, 2004, *_ALTERNATE}
)
_ON_AT_FIRST: Final = frozenset({7, 25})


class Modes:
    """The state that a stretch of output leaves a terminal in, as far as it can be said again."""

    def __init__(self) -> None:
        self._private: dict[int, bool] = {}
        self._region = b""
        self._insert = self._keypad = self._graphics = False
        self._rendition = Rendition()
        self._partial = b""

    @property
    def is_alternate(self) -> bool:
        """Whether a full-screen program has the screen."""
        return any(self._private.get(number) for number in _ALTERNATE)

    def feed(self, data: bytes) -> None:
        data = self._partial + data
        last = data.rfind(b"\x1b", max(0, len(data) - _PARTIAL))
        cut = last if last >= 0 and not _SEQUENCE.match(data, last) else len(data)
        self._partial, data = data[cut:], data[:cut]
        if b"\x1b" not in data:
            return
        for match in _SEQUENCE.finditer(data):
            self._take(match)
        self._rendition.feed(data.decode("latin-1"))

    def _take(self, match: re.Match[bytes]) -> None:
        if match[1]:
            for number in filter(None, match[2].split(b";")):
                if int(number[:5]) in _PRIVATE:
                    self._private[int(number[:5])] = match[3] == b"h"
        elif match[4] is not None:
            self._region = match[4]
        elif match[5]:
            self._insert = match[6] == b"h"
        elif match[7] in (b"=", b">"):
            self._keypad = match[7] == b"="
        elif match[9]:
            self._graphics = match[9] == b"0"
        else:  # ESC c and the soft reset
            self._reset()

    def _reset(self) -> None:
        self._private.clear()
        self._region = b""
        self._insert = self._keypad = self._graphics = False
        self._rendition = Rendition()

    def sequence(self) -> bytes:
        """What brings a terminal that was just reset into this state."""
        changed = {n: on for n, on in self._private.items() if on != (n in _ON_AT_FIRST)}
        screens = sorted(changed, key=lambda number: (number not in _ALTERNATE, number))
        parts = [b"\x1b[?%d%s" % (number, b"h" if changed[number] else b"l") for number in screens]
        if self._region:
            parts.append(b"\x1b[%sr" % self._region)
        parts += [b"\x1b[4h"] * self._insert + [b"\x1b="] * self._keypad
        parts += [b"\x1b(0"] * self._graphics
        if codes := self._rendition.codes:
            parts.append(b"\x1b[%sm" % codes.encode())
        return b"".join(parts)


class Screen:
    """The end of one terminal's output. Offsets count all bytes that were ever added."""

    def __init__(self, *, start: int = 0) -> None:
        self.start = start
        self._kept = bytearray()
        self._before = Modes()
        self._now = Modes()

    @property
    def end(self) -> int:
        return self.start + len(self._kept)

    @property
    def modes(self) -> bytes:
        """The sequence that says how the terminal is now; small enough to be noted on disk."""
        return self._now.sequence()

    @property
    def is_alternate(self) -> bool:
        """Whether a full-screen program has the screen now."""
        return self._now.is_alternate

    @property
    def needs_redraw(self) -> bool:
        """Whether what a full-screen program has drawn may begin before what is kept."""
        return self._before.is_alternate and self._now.is_alternate

    def add(self, data: bytes) -> None:
        self._kept += data
        self._now.feed(data)
        if len(self._kept) > KEPT + _SLACK:
            cut = _line_after(self._kept, len(self._kept) - KEPT)
            self._before.feed(bytes(self._kept[:cut]))
            del self._kept[:cut]
            self.start += cut

    def beginning(self) -> bytes:
        """What to send in front of the output from ``start`` on, after a reset."""
        return self._before.sequence()

    def read(self, offset: int, most: int) -> bytes:
        """Output from ``offset`` on, which must not lie before ``start``."""
        at = offset - self.start
        return bytes(self._kept[at : at + most])


def _line_after(data: bytearray, at: int) -> int:
    """A place at or soon after ``at`` where neither a character nor a sequence is cut in two."""
    found = data.find(b"\n", at, at + _LINE)
    if found >= 0:
        return found + 1
    found = data.find(b"\x1b", at, at + _LINE)
    if found >= 0:
        return found
    while at < len(data) and data[at] >> 6 == 0b10:
        at += 1
    return at
