"""The moment of a run that a page's address asks for: ``?at=``, milliseconds since the epoch."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from django.http import HttpRequest

#: The last one that a clock can say.
LAST_MS: Final = 253_402_300_000_000
_DIGITS: Final = 18


def moment_of(at: int) -> datetime:
    """Beyond what a clock can say is its end."""
    return datetime.fromtimestamp(min(at, LAST_MS) / 1000, UTC)


def asked_moment(request: HttpRequest) -> datetime | None:
    """None where none is asked for, or what is asked for is none."""
    text = request.GET.get("at", "")
    return moment_of(int(text)) if text.isdecimal() and len(text) <= _DIGITS else None
