"""Everything that reads sandboxes. Each of them takes an account: a foreign row is never found."""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from django.db import connection
from django.db.models import Count, QuerySet

from accounts.asking import asker
from accounts.ids import first_id_at
from accounts.models import Account, Size
from accounts.policy import TOKEN_ROLE, Principal
from accounts.tokens import Parsed, Stored
from sandboxes.allowlist import default_domains_of
from sandboxes.errors import InvalidRequest, SandboxNotFound
from sandboxes.limits import REGION, REGION_LABEL
from sandboxes.models import LIVE, Sandbox, Status, text_of_sandbox
from sandboxes.usage.selectors import spent_eur
from timeline.events import Actor

SANDBOX_ID: Final = re.compile(r"sbx_[0-9A-HJKMNP-TV-Z]{26}")

_ADMISSION: Final = """
SELECT t.id, t.name, t.lookup, t.account_id, t.scopes,
       t.digest, t.expires_at, t.revoked_at, t.allowed_networks,
       s.id, s.status, s.reason, s.auto_resume, s.token_id
FROM accounts_token t
LEFT JOIN sandboxes_sandbox s ON s.id = %s AND s.account_id = t.account_id
WHERE t.lookup = %s
"""

_LIVE_COUNT: Final = """
SELECT count(*) FROM sandboxes_sandbox WHERE account_id = %s AND status = ANY(%s)
"""


def counts_by_state() -> dict[str, int]:
    """How many sandboxes there are in each state but the ended ones, over all accounts."""
    open_states = (*LIVE, Status.PAUSED)
    rows = (
        Sandbox.objects.filter(status__in=open_states)
        .order_by()
        .values_list("status")
        .annotate(count=Count("id"))
    )
    return {state.value: 0 for state in open_states} | dict(rows)


@dataclass(frozen=True, slots=True)
class Target:
    """As much of a sandbox as deciding whether something can be done in it takes."""

    id: str
    status: str
    reason: str
    auto_resume: bool = False
    token_id: str | None = None


@dataclass(frozen=True, slots=True)
class Admission:
    """A token's row and, when one was named and is the account's, a sandbox: one query for both."""

    stored: Stored
    principal: Principal
    target: Target | None


async def admission(*, presented: Parsed, sandbox_id: str | None) -> Admission | None:
    """What stands in front of every API request; None when there is no such token."""
    row = await asker().row(_ADMISSION, [sandbox_id, presented.lookup])
    if row is None:
        return None
    token_id, name, lookup, account_id, scopes, *stored = row[:9]
    principal = Principal(
        account_id=account_id,
        actor=Actor("token", id=token_id, name=name, prefix=f"ork_{lookup}"),
        scopes=frozenset(scopes),
        role=TOKEN_ROLE,
        token_id=token_id,
    )
    target = Target(*row[9:]) if row[9] is not None else None
    return Admission(Stored(*stored), principal, target)


def sandbox_for(*, principal: Principal, sandbox_id: str) -> Sandbox:
    """One sandbox of the principal's account. Raises ``SandboxNotFound``."""
    if not SANDBOX_ID.fullmatch(sandbox_id):
        raise SandboxNotFound(sandbox_id)
    row = Sandbox.objects.filter(id=sandbox_id, account_id=principal.account_id).first()
    if row is None:
        raise SandboxNotFound(sandbox_id)
    return row


def sandboxes_named(*, principal: Principal, ids: Sequence[str]) -> list[Sandbox]:
    """Those of the principal's account among these ids, in their order."""
    known = [one for one in dict.fromkeys(ids) if SANDBOX_ID.fullmatch(one)]
    found = Sandbox.objects.filter(account_id=principal.account_id).in_bulk(known)
    return [found[one] for one in known if one in found]


def sandboxes_of(
    account_id: str,
    *,
    statuses: Sequence[str] = (),
    metadata: Mapping[str, str] | None = None,
    template: str | None = None,
    network: str | None = None,
    token_id: str | None = None,
    text: str | None = None,
    since: datetime | None = None,
) -> QuerySet[Sandbox]:
    """An account's sandboxes, newest first; ``metadata`` must match in every key.

    ``text`` is looked for in ids and in the metadata as it is written; an index finds it from
    three characters on. ``since`` is when they were made at the earliest, by their ids.
    """
    rows = Sandbox.objects.filter(account_id=account_id).order_by("-id")
    if statuses:
        rows = rows.filter(status__in=statuses)
    if metadata:
        rows = rows.filter(metadata__contains=dict(metadata))
    if text:
        rows = rows.alias(text=text_of_sandbox()).filter(text__icontains=text)
    if since is not None:
        rows = rows.filter(id__gte=first_id_at("sbx", since))
    exact = {"template": template, "network": network, "token_id": token_id}
    return rows.filter(**{key: value for key, value in exact.items() if value is not None})


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list, how many rows there are in all, and where the next page begins."""

    rows: list[Sandbox]
    total: int
    next_cursor: str | None


def page_of(
    rows: QuerySet[Sandbox], *, limit: int, cursor: str | None, count_to: int | None = None
) -> Page:
    """Pages by id, which sorts by time: new rows shift nothing. Raises ``InvalidRequest``.

    With ``count_to`` no more rows are counted than one beyond it: ``total`` may be that.
    """
    counted = rows if count_to is None else rows.order_by()[: count_to + 1]
    total = counted.count()
    if cursor is not None:
        rows = rows.filter(id__lt=_decode_cursor(cursor))
    found = list(rows[: limit + 1])
    more = len(found) > limit
    return Page(found[:limit], total, _encode_cursor(found[limit - 1].id) if more else None)


def cursor_check(cursor: str) -> None:
    """Raises ``InvalidRequest`` for one that no list gave out; an empty one is the first page."""
    if cursor:
        _decode_cursor(cursor)


def _encode_cursor(sandbox_id: str) -> str:
    return base64.urlsafe_b64encode(sandbox_id.encode()).decode().rstrip("=")


def _decode_cursor(cursor: str) -> str:
    try:
        padded = cursor + "=" * (-len(cursor) % 4)
        text = base64.b64decode(padded, altchars=b"-_", validate=True).decode("ascii")
    except (binascii.Error, ValueError):
        text = ""
    if not SANDBOX_ID.fullmatch(text):
        raise InvalidRequest("cursor is not one that this list gave out; start without one.")
    return text


def live_count(account_id: str) -> int:
    """How many sandboxes of the account count against its plan's concurrency."""
    with connection.cursor() as cursor:
        cursor.execute(_LIVE_COUNT, [account_id, [status.value for status in LIVE]])
        row = cursor.fetchone()
    return int(row[0]) if row else 0


@dataclass(frozen=True, slots=True)
class SizeOffer:
    """A size of the menu, and whether the plan covers it."""

    size: Size
    allowed: bool


@dataclass(frozen=True, slots=True)
class Limits:
    """What an account's plan covers."""

    account: Account
    sizes: list[SizeOffer]
    regions: list[tuple[str, str]]
    egress_domains: list[str]
    spent_eur: Decimal

    @property
    def credit_used_eur(self) -> Decimal:
        """What is beyond the credit is billed, not used of it."""
        return min(self.spent_eur, self.account.plan.trial_credit_eur)


def limits_of(account_id: str) -> Limits:
    """The plan's caps with the size menu, smallest first."""
    account = Account.objects.select_related("plan").get(id=account_id)
    allowed = set(account.plan.sizes.values_list("name", flat=True))
    sizes = [SizeOffer(size, size.name in allowed) for size in Size.objects.all()]
    regions = [(REGION, REGION_LABEL)]
    return Limits(account, sizes, regions, default_domains_of(account), spent_eur(account_id))


def tokens_ended(token_ids: Sequence[str], *, now: datetime) -> list[str]:
    """Which of these tokens were revoked, have expired, or are gone."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT id FROM accounts_token WHERE id = ANY(%s) AND revoked_at IS NULL "
            "AND (expires_at IS NULL OR expires_at > %s)",
            [list(token_ids), now],
        )
        good = {row[0] for row in cursor.fetchall()}
    return [token_id for token_id in token_ids if token_id not in good]
