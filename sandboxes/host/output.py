"""From the bytes a command writes to the events of its output.

Chunks are gathered for at most 50 ms or 32 KiB, masked, decoded without splitting characters or
escape sequences, and kept to a ceiling. Each stream's state is small and can be saved at any
moment, so that a host that was killed goes on exactly where its journal ends.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from sandboxes.host.masking import Masker, Scan
from sandboxes.host.patterns import unfinished_escape
from sandboxes.host.types import Stream

#: Seconds and bytes after which gathered output becomes an event.
GATHER_SECONDS: Final = 0.05
GATHER_BYTES: Final = 32 * 1024
#: Bytes of a command's output that the timeline keeps, unless set otherwise.
TIMELINE_LIMIT: Final = 1024 * 1024
#: Changes between the streams that one gathering shows in their order.
RUNS: Final = 32
STREAMS: Final[tuple[Stream, Stream]] = ("stdout", "stderr")

_SGR: Final = re.compile(r"\x1b\[([0-9;:]*)m")
_UTF8_MORE: Final = 0b10
# What ends each attribute of a terminal's text.
_OFF: Final = {
    22: (1, 2),
    23: (3,),
    24: (4,),
    25: (5, 6),
    27: (7,),
    28: (8,),
    29: (9,),
    39: (30,),
    49: (40,),
}


def unfinished_character(data: bytes) -> int:
    """Where a UTF-8 character begins that ``data`` ends in the middle of, else its length."""
    for back in range(1, min(3, len(data)) + 1):
        byte = data[-back]
        if byte >> 6 == _UTF8_MORE:
            continue
        need = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return len(data) - back if need > back else len(data)
    return len(data)


class Rendition:
    """Which colours and styles a terminal would be in after the text so far."""

    def __init__(self, codes: str = "") -> None:
        self._set: dict[int, str] = {}
        if codes:
            self._apply(codes)

    def feed(self, text: str) -> None:
        if "\x1b" in text:
            for match in _SGR.finditer(text):
                self._apply(match.group(1))

    @property
    def codes(self) -> str:
        """The shortest sequence that brings the state back, without its ``ESC [`` and ``m``."""
        return ";".join(self._set.values())

    def _apply(self, codes: str) -> None:
        numbers = [int(part[:5] or 0) for part in codes.replace(":", ";").split(";")]
        while numbers:
            number = numbers.pop(0)
            if number in {38, 48}:
                self._apply_extended(number, numbers)
            else:
                self._apply_one(number)

    def _apply_one(self, number: int) -> None:
        if number == 0:
            self._set.clear()
        elif number in _OFF:
            for slot in _OFF[number]:
                self._set.pop(slot, None)
        elif number < 10:
            self._set[number] = str(number)
        elif 30 <= number <= 37 or 90 <= number <= 97:
            self._set[30] = str(number)
        elif 40 <= number <= 47 or 100 <= number <= 107:
            self._set[40] = str(number)

    def _apply_extended(self, number: int, rest: list[int]) -> None:
        """``38;5;N`` and ``38;2;R;G;B``, and the same with 48."""
        count = {5: 2, 2: 4}.get(rest[0] if rest else 0, 0)
        if len(rest) >= count > 0:
            self._set[number - 8] = ";".join(map(str, [number, *rest[:count]]))
        del rest[: max(count, 1)]


@dataclass
class StreamText:
    """One stream of one command: bytes in, text out, a little held back in between.

    ``end`` counts the bytes fed, ``shown`` those that came out as text. The same bytes leave the
    same state however they were cut, which recovery relies on.
    """

    masker: Masker
    end: int = 0
    held: bytes = b""
    rendition: Rendition = field(default_factory=Rendition)
    scan: Scan = field(default_factory=Scan)

    @property
    def shown(self) -> int:
        return self.end - len(self.held)

    def feed(self, data: bytes) -> str:
        """Text that is safe to show now."""
        pending = self.held + data
        self.end += len(data)
        cut = self.masker.look(pending, self.scan, at_end=False)
        cut = min(cut, unfinished_character(pending), unfinished_escape(pending))
        self.held = pending[cut:]
        return self._text(pending[:cut])

    def finish(self) -> str:
        """What was held back, when nothing more will come."""
        rest, self.held = self.held, b""
        self.masker.look(rest, self.scan, at_end=True)
        return self._text(rest)

    def _text(self, data: bytes) -> str:
        masked = self.masker.shown(data, self.scan)
        self.scan.move(len(data))
        text = masked.decode("utf-8", "replace").replace("\0", "\u2400")
        self.rendition.feed(text)
        return text

    def save(self) -> dict[str, Any]:
        """JSON for ``restore``."""
        held = base64.b64encode(self.held).decode()
        scan = self.scan.save()
        return {"end": self.end, "held": held, "sgr": self.rendition.codes, "scan": scan}

    @classmethod
    def restore(cls, masker: Masker, saved: Mapping[str, Any]) -> StreamText:
        held = base64.b64decode(saved["held"])
        scan = Scan.restore(saved.get("scan", (0, 0, 0)))
        return cls(masker, int(saved["end"]), held, Rendition(saved["sgr"]), scan)


Run = tuple[Stream, bytes]


class Gathered:
    """Runs of bytes in the order they came."""

    def __init__(self) -> None:
        self._runs: list[tuple[Stream, bytearray]] = []
        self.size = 0

    def add(self, stream: Stream, data: bytes) -> None:
        self.size += len(data)
        if not self._runs or self._runs[-1][0] != stream:
            self._runs.append((stream, bytearray()))
        self._runs[-1][1].extend(data)

    def take(self) -> list[Run]:
        """All of it, and empty again."""
        taken = [(stream, bytes(run)) for stream, run in self._runs]
        self._runs, self.size = [], 0
        return taken


def parted(runs: list[Run]) -> list[Run]:
    """The same runs, or one for each stream when they alternate so fast that order means little."""
    if len(runs) <= RUNS:
        return runs
    whole = [(stream, b"".join(run for name, run in runs if name == stream)) for stream in STREAMS]
    return [(stream, run) for stream, run in whole if run]
