"""How far a token reaches: what it made and was in, and stopping all of that at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from django.db import connection

from accounts.models import Token
from accounts.origin import Origin
from accounts.policy import Principal, Scope, require
from accounts.services import audit_record, token_revoke
from sandboxes.models import Sandbox, Status
from sandboxes.parking import Rule, park

SHOWN: Final = 12
NAMES: Final = 60
_AT_ONCE: Final = 25
_NOWHERE: Final = Origin()

_REACHED: Final = """
WITH reached AS (
    SELECT id FROM sandboxes_sandbox WHERE token_id = %(token)s
    UNION SELECT sandbox_id FROM sandboxes_tokentouch WHERE token_id = %(token)s
)
"""
# ruff: noqa: S608 - what is put together are constants of this module
_COUNTS: Final = f"""{_REACHED}
SELECT count(*) FILTER (WHERE b.token_id = %(token)s),
       count(*) FILTER (WHERE b.token_id IS DISTINCT FROM %(token)s),
       count(*) FILTER (WHERE b.token_id = %(token)s AND b.status = 'running'),
       count(*) FILTER (WHERE b.token_id = %(token)s AND b.status = 'paused'),
       (SELECT count(*) FROM sandboxes_snapshot s JOIN reached r ON r.id = s.source_id
        WHERE s.deleted_at IS NULL)
FROM sandboxes_sandbox b JOIN reached USING (id)
"""
_VOLUMES: Final = f"""{_REACHED}
SELECT DISTINCT b.volume_name FROM sandboxes_sandbox b JOIN reached USING (id)
WHERE b.volume_name <> '' ORDER BY 1 LIMIT %(names)s
"""
_SECRETS: Final = f"""{_REACHED}
SELECT name, count(*) FROM sandboxes_sandbox b JOIN reached USING (id), unnest(b.env_names) AS name
GROUP BY name ORDER BY 2 DESC, 1 LIMIT %(names)s
"""
_NEWEST: Final = f"{_REACHED} SELECT id FROM reached ORDER BY id DESC LIMIT %(shown)s"


@dataclass(frozen=True, slots=True)
class Reach:
    """What a token made and what else it was in.

    ``secrets`` are names of variables in those sandboxes, with in how many of them each was: their
    values could be read there. ``recent`` are the newest sandboxes it made or was in.
    """

    made: int
    entered: int
    running: int
    paused: int
    snapshots: int
    volumes: list[str]
    secrets: list[tuple[str, int]]
    recent: list[Sandbox]


@dataclass(slots=True)
class Stopped:
    """What became of what a token had running: ids, and how many others were paused before."""

    paused: list[str] = field(default_factory=list)
    ended: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)


def token_reach(token: Token) -> Reach:
    """Five queries, by the indexes of one token's sandboxes."""
    values: dict[str, Any] = {"token": token.id, "names": NAMES, "shown": SHOWN}
    with connection.cursor() as cursor:
        rows = []
        for sql in (_COUNTS, _VOLUMES, _SECRETS, _NEWEST):
            cursor.execute(sql, values)
            rows.append(cursor.fetchall())
    counts, volumes, secrets, newest = rows
    recent = Sandbox.objects.filter(id__in=[row[0] for row in newest]).order_by("-id")
    made, entered, running, paused, snapshots = counts[0]
    return Reach(
        made=made,
        entered=entered,
        running=running,
        paused=paused,
        snapshots=snapshots,
        volumes=[row[0] for row in volumes],
        secrets=[(name, count) for name, count in secrets],
        recent=list(recent),
    )


def token_stop(*, principal: Principal, token_id: str, origin: Origin = _NOWHERE) -> Stopped:
    """Revoke a token, then pause every running sandbox that it made.

    The plan's cap on paused ones does not hold for that, and nothing is ended: what cannot be
    paused is named. Raises ``NotFound`` and ``Forbidden``, and has then done nothing.
    """
    require(principal, Scope.SANDBOXES_WRITE)
    token = token_revoke(principal=principal, token_id=token_id, origin=origin)
    rule = Rule("token_revoked", "token", principal.actor, always=True)
    running = Sandbox.objects.filter(token=token, status__in=(Status.STARTING, Status.RUNNING))
    rows = list(running.select_related("account__plan").order_by("id"))
    failed: set[str] = set()
    for start in range(0, len(rows), _AT_ONCE):
        failed.update(park(rows[start : start + _AT_ONCE], rule=rule))
    stopped = _report([row.id for row in rows])
    audit_record(
        principal=principal,
        action="token.stopped",
        target=token.id,
        after={"paused": len(stopped.paused), "failed": stopped.failed},
        origin=origin,
    )
    return stopped


def _report(ids: Sequence[str]) -> Stopped:
    """By how the rows stand now, whoever moved them."""
    stopped = Stopped()
    for row in Sandbox.objects.filter(id__in=ids).order_by("id"):
        if row.status in (Status.PAUSED, Status.PAUSING):
            stopped.paused.append(row.id)
        elif row.ended:
            stopped.ended.append(row.id)
        else:
            stopped.failed.append(row.id)
    return stopped
