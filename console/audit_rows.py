"""The audit record as its page shows it: what changed, where it leads, what the address asks."""

from __future__ import annotations

import zoneinfo
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, Final
from urllib.parse import urlencode

import orjson
from django.http import QueryDict
from django.urls import NoReverseMatch, reverse

from accounts.acts import said
from accounts.audit import AuditFilter
from accounts.models import AuditEntry

_NAMES: Final = ("q", "actor", "action", "target", "address", "from", "to", "zone")
_LONGEST: Final = 200
#: Where an object's page is, by the first letters of its id.
_PAGES: Final = {"sbx": "sandbox"}


@dataclass(frozen=True, slots=True)
class Change:
    """One field: ``state`` is ``added``, ``removed``, ``changed`` or ``same``."""

    name: str
    before: str
    after: str
    state: str


@dataclass(frozen=True, slots=True)
class AuditRow:
    """An entry with what a reader wants beside it."""

    entry: AuditEntry
    said: str
    href: str
    changes: list[Change]

    @property
    def actor(self) -> Mapping[str, str]:
        """As ``timeline.events.Actor.to_json()`` has it."""
        return dict(self.entry.actor)

    @property
    def actor_key(self) -> str:
        """What the address says for this actor alone."""
        return self.actor.get("id") or self.actor.get("type", "")


def audit_rows(entries: Iterable[AuditEntry]) -> list[AuditRow]:
    """Each entry with its words, its link and its diff."""
    return [
        AuditRow(one, said(one.action), _href(one.target), changes(one.before, one.after))
        for one in entries
    ]


def changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[Change]:
    """Field by field, in the order in which they were written."""
    return [_change(name, before, after) for name in dict.fromkeys([*before, *after])]


def _change(name: str, before: Mapping[str, Any], after: Mapping[str, Any]) -> Change:
    was, now = _text(before.get(name)), _text(after.get(name))
    if name not in before:
        return Change(name, "", now, "added")
    if name not in after:
        return Change(name, was, "", "removed")
    return Change(name, was, now, "same" if was == now else "changed")


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    if value is None:
        return "none"
    if isinstance(value, list) and all(isinstance(one, str) for one in value):
        return ", ".join(value) or "none"
    return orjson.dumps(value).decode()


def _href(target: str) -> str:
    page = _PAGES.get(target.partition("_")[0])
    try:
        return reverse(page, args=[target]) if page else ""
    except NoReverseMatch:
        return ""


@dataclass(frozen=True, slots=True)
class Asked:
    """What the address narrows the record by, as it was typed."""

    values: Mapping[str, str]

    @property
    def query(self) -> str:
        """Without the page, for links that keep what is narrowed."""
        return urlencode({name: value for name, value in self.values.items() if value})

    @property
    def is_narrowed(self) -> bool:
        """Whether entries may have been left out."""
        return any(value for name, value in self.values.items() if name != "zone")

    def filter(self) -> AuditFilter:
        """Dates are days of the reader's zone; one that makes no sense is as good as absent."""
        values = self.values
        until = _midnight(values["to"], values["zone"])
        return AuditFilter(
            actor=values["actor"],
            action=values["action"],
            target=values["target"],
            text=values["q"],
            address=values["address"],
            since=_midnight(values["from"], values["zone"]),
            until=until and until + timedelta(days=1),
        )


def asked(query: QueryDict) -> Asked:
    """Read an address; NUL and what is longer than any field are cut."""
    found = {name: query.get(name, "").replace("\x00", "").strip()[:_LONGEST] for name in _NAMES}
    return Asked(found)


def _midnight(day: str, zone: str) -> datetime | None:
    try:
        place: Any = zoneinfo.ZoneInfo(zone) if zone else UTC
    except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
        place = UTC
    try:
        found = datetime.combine(date.fromisoformat(day), time(), tzinfo=place)
        return found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None
