"""Events that end a sandbox, as they are stored: its row follows, whoever ended it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

from sandboxes.models import Status
from sandboxes.services import sandbox_ended
from timeline.events import Event, Kind

_ENDINGS: Final = {
    Kind.SANDBOX_TERMINATED: Status.TERMINATED,
    Kind.SANDBOX_FAILED: Status.FAILED,
}


def observe(events: Sequence[Event]) -> None:
    """Idempotent: the same events may come again, and a row that has ended stays as it is."""
    for event in events:
        status = _ENDINGS.get(Kind(event.kind)) if event.kind in _ENDINGS else None
        if status is not None:
            sandbox_ended(
                sandbox_id=event.sandbox_id,
                status=status,
                reason=str(event.data.get("reason", "")),
                detail=str(event.data.get("detail", "")),
                at=datetime.fromtimestamp(event.at / 1_000_000, tz=UTC),
            )
