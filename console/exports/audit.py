"""The audit record as CSV and as JSON Lines, written while it is sent."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any, Final

import orjson

from accounts.audit import AuditFilter, Cursor, audit_page
from accounts.database import in_database
from accounts.models import AuditEntry
from console.exports.cells import csv_lines

_PAGE: Final = 1000
COLUMNS: Final = (
    *("id", "at", "actor_type", "actor_id", "actor_name", "actor_prefix", "action", "target"),
    *("before", "after", "address", "user_agent"),
)

Lines = Callable[[Sequence[AuditEntry]], bytes]


def entry_json(entry: AuditEntry) -> dict[str, Any]:
    """One entry, times in UTC."""
    return {
        "id": entry.pk,
        "at": entry.at.isoformat(),
        "actor": entry.actor,
        "action": entry.action,
        "target": entry.target,
        "before": entry.before,
        "after": entry.after,
        "address": entry.address,
        "user_agent": entry.user_agent,
    }


def json_lines(entries: Sequence[AuditEntry]) -> bytes:
    """An object a line."""
    return b"".join(orjson.dumps(entry_json(entry)) + b"\n" for entry in entries)


def entry_lines(entries: Sequence[AuditEntry]) -> bytes:
    """A line of CSV each."""
    return csv_lines(_cells(entry) for entry in entries)


def _cells(entry: AuditEntry) -> Sequence[object]:
    actor = entry.actor
    return (
        *(entry.pk, entry.at.isoformat()),
        *(actor.get(name, "") for name in ("type", "id", "name", "prefix")),
        *(entry.action, entry.target),
        *(orjson.dumps(each).decode() for each in (entry.before, entry.after)),
        *(entry.address or "", entry.user_agent),
    )


async def audit_pieces(
    *, account_id: str, narrowed: AuditFilter, newest: Cursor | None, head: bytes, lines: Lines
) -> AsyncIterator[bytes]:
    """Newest first from ``newest`` on: what is added meanwhile makes the file no longer."""
    yield head
    before = newest and newest.including
    while before is not None:
        page = await in_database(
            audit_page, account_id=account_id, narrowed=narrowed, before=before, size=_PAGE
        )
        if page.entries:
            yield lines(page.entries)
        before = page.older
