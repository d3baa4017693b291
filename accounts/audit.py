"""The audit record, read: narrowed, in pages by keyset, and as rows that say what changed."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Final, get_args

from django.db.models import CharField, Q, QuerySet
from django.db.models.functions import Cast

from accounts.models import AuditEntry
from timeline.events import ActorType

PAGE: Final = 50
LOOKED_AT: Final = 20_000
"""Entries that one page looks through for what matches; it says where it stopped."""


@dataclass(frozen=True, slots=True)
class Cursor:
    """The place of an entry in the record, newest first."""

    at: datetime
    id: int

    @property
    def including(self) -> Cursor:
        """What a page that begins with this entry is older than."""
        return Cursor(self.at, self.id + 1)

    def __str__(self) -> str:
        return f"{round(self.at.timestamp() * 1_000_000)}-{self.id}"

    @classmethod
    def parse(cls, text: str) -> Cursor | None:
        """None for what no page gave out."""
        at, dash, identity = text.partition("-")
        if not (dash and at.isascii() and at.isdecimal() and identity.isascii()):
            return None
        if not identity.isdecimal() or len(at) > 16 or len(identity) > 18:
            return None
        moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=int(at))
        return cls(moment, int(identity))


@dataclass(frozen=True, slots=True)
class AuditFilter:
    """What narrows the record. Empty parts let everything through.

    ``actor`` is an actor's type, id, prefix or part of a name; ``action`` is an action or its first
    word; ``address`` an address or a network; ``until`` is the first moment that is left out.
    """

    actor: str = ""
    action: str = ""
    target: str = ""
    text: str = ""
    address: str = ""
    since: datetime | None = None
    until: datetime | None = None


@dataclass(frozen=True, slots=True)
class AuditPage:
    """Entries newest first. ``older`` is where to go on, ``looked_until`` when it stopped early."""

    entries: list[AuditEntry] = field(default_factory=list)
    older: Cursor | None = None
    looked_until: datetime | None = None


def audit_page(
    *, account_id: str, narrowed: AuditFilter, before: Cursor | None = None, size: int = PAGE
) -> AuditPage:
    """The newest ``size`` entries that match, older than ``before``.

    One page looks at no more than ``LOOKED_AT`` entries however rare a match is.
    """
    rows = _older(_dated(_of(account_id), narrowed), before)
    end = None if _takes_all(narrowed) else _place(rows, LOOKED_AT)
    if end is not None:
        is_newer = Q(at__gt=end.at) | Q(at=end.at, id__gte=end.id)
        rows = rows.filter(is_newer, at__gte=end.at)  # the latter is what the index goes by
    found = list(_matching(rows, narrowed)[: size + 1])
    if len(found) > size:
        last = found[size - 1]
        return AuditPage(found[:size], Cursor(last.at, last.id))
    if end is None:
        return AuditPage(found)
    return AuditPage(found, end, looked_until=end.at)


def _takes_all(narrowed: AuditFilter) -> bool:
    """Whether the index alone finds what matches."""
    return replace(narrowed, since=None, until=None) == AuditFilter()


def _place(rows: QuerySet[AuditEntry], number: int) -> Cursor | None:
    """Of the entry with that number, if there are so many."""
    found = rows.values_list("at", "id")[number - 1 : number].first()
    return Cursor(*found) if found else None


def audit_past(account_id: str, *, skip: int) -> Cursor | None:
    """The place of an account's entry number ``skip``, the latest being 1; None without so many.

    Of those passed over only the index is read.
    """
    return _place(_of(account_id), skip)


def audit_newest(account_id: str) -> Cursor | None:
    """The place of an account's latest entry."""
    found = _of(account_id).values_list("at", "id").first()
    return Cursor(*found) if found else None


def _of(account_id: str) -> QuerySet[AuditEntry]:
    return AuditEntry.objects.filter(account_id=account_id).order_by("-at", "-id")


def _dated(rows: QuerySet[AuditEntry], narrowed: AuditFilter) -> QuerySet[AuditEntry]:
    if narrowed.since is not None:
        rows = rows.filter(at__gte=narrowed.since)
    if narrowed.until is not None:
        rows = rows.filter(at__lt=narrowed.until)
    return rows


def _older(rows: QuerySet[AuditEntry], before: Cursor | None) -> QuerySet[AuditEntry]:
    if before is None:
        return rows
    return rows.filter(Q(at__lt=before.at) | Q(at=before.at, id__lt=before.id), at__lte=before.at)


def _matching(rows: QuerySet[AuditEntry], narrowed: AuditFilter) -> QuerySet[AuditEntry]:
    if narrowed.actor:
        rows = rows.filter(_is_actor(narrowed.actor))
    if narrowed.action:
        is_part = Q(action__startswith=f"{narrowed.action}.")
        rows = rows.filter(Q(action=narrowed.action) | is_part)
    if narrowed.target:
        rows = rows.filter(target__icontains=narrowed.target)
    if narrowed.address:
        rows = rows.filter(_is_address(narrowed.address))
    if narrowed.text:
        rows = rows.annotate(
            was=Cast("before", CharField()), became=Cast("after", CharField())
        ).filter(
            Q(action__icontains=narrowed.text)
            | Q(target__icontains=narrowed.text)
            | Q(actor__name__icontains=narrowed.text)
            | Q(was__icontains=narrowed.text)
            | Q(became__icontains=narrowed.text)
        )
    return rows


def _is_actor(text: str) -> Q:
    if text in get_args(ActorType):
        return Q(actor__type=text)
    exactly = Q(actor__id=text) | Q(actor__prefix=text)
    return exactly | Q(actor__name__icontains=text)


def _is_address(text: str) -> Q:
    try:
        network = ipaddress.ip_network(text, strict=False)
    except ValueError:
        return Q(address__startswith=text)
    return Q(address__within=str(network))
