"""What goes over the timeline's websocket: JSON text, one object a frame."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from timeline.events import Event
from timeline.render import render_row

FRAME_UNITS = 64 * 1024


@dataclass(frozen=True, slots=True)
class Rows:
    """Rendered rows that cover every ``seq`` from ``first`` to ``last``.

    ``payload`` is the finished frame (UTF-8), made once for all viewers. ``units`` is the length of
    its HTML as a browser counts it (UTF-16), which is what acknowledgements are made of.
    """

    first: int
    last: int
    units: int
    payload: bytes

    @property
    def text(self) -> str:
        """The frame for those who send text."""
        return self.payload.decode()


def rows(events: Sequence[Event], *, most_units: int = FRAME_UNITS) -> Rows:
    """The first of these consecutive events that fit a frame; at least one. Needs one event."""
    parts: list[str] = []
    units = 0
    for event in events:
        html = render_row(event)
        length = utf16_units(html)
        if parts and units + length > most_units:
            break
        parts.append(html)
        units += length
    first = events[0].seq
    last = first + len(parts) - 1
    covered = {"t": "rows", "from": first, "to": last, "html": "".join(parts)}
    return Rows(first, last, units, orjson.dumps(covered))


def frame(kind: str, **fields: Any) -> str:
    """``skip``, ``edge``, ``repaired`` or ``bye``."""
    return orjson.dumps({"t": kind, **fields}).decode()


def utf16_units(text: str) -> int:
    """The length of a text in JavaScript."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le")) // 2
