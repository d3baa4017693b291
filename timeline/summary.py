"""An event in a few words, for lists that point at it."""

from __future__ import annotations

from typing import Final

from timeline.events import Event
from timeline.inert import inert

_MOST: Final = 160
_FIELDS: Final = ("command", "code", "path", "host", "domain", "limit", "text", "detail", "reason")


def summary(event: Event) -> str:
    """What happened on one line of at most 160 characters, harmless but not escaped."""
    for field in _FIELDS:
        value = event.data.get(field)
        if isinstance(value, str) and value.strip():
            line = inert(value.strip().splitlines()[0])
            return line if len(line) <= _MOST else line[: _MOST - 1] + "…"
    return event.kind.replace(".", " ").replace("_", " ")
