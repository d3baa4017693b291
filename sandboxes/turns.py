"""What a pause and a resume make of a sandbox's row: one turn before the host is asked, one after.

Whoever turns it to ``pausing`` or ``resuming`` asks the host; nobody else can meanwhile. A turn is
a transaction of two statements at most, since all that call for one wait for the round trips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import cache
from typing import Any, Final

from django.db import connection, transaction
from django.utils import timezone

from accounts.announce import account_group, announce
from accounts.ids import new_id
from accounts.models import Account, AuditEntry, Plan
from accounts.rows import columns_of, model_of
from sandboxes import limits
from sandboxes.errors import SandboxNotFound, WrongState
from sandboxes.host.types import HostError, PausedSandbox
from sandboxes.models import KEPT, LIVE, Sandbox, Status
from sandboxes.selectors import SANDBOX_ID
from sandboxes.services import why_not
from sandboxes.usage.selectors import SPENT_COLUMNS, SPENT_JOINS, Spent
from sandboxes.webhooks.outbox import sandbox_changed

_NEVER: Final = datetime.fromtimestamp(0, tz=UTC)

_NOT_NOW: Final = {
    Status.PAUSED: "The sandbox is paused already; resume it to work in it.",
    Status.PAUSING: "The sandbox is being paused already; resume it when that is done.",
}
_NOT_ASLEEP: Final = {
    Status.RUNNING: "The sandbox is not paused; it runs.",
    Status.RESUMING: "The sandbox is being resumed already; try again in a moment.",
}


@transaction.atomic
def pause_begin(
    *, account_id: str, sandbox_id: str, beyond_cap: bool = False, reason: str = ""
) -> Sandbox:
    """Its row in ``pausing``, within the plan's cap. Raises ``SandboxError``.

    ``reason`` is the rule's that pauses it; empty when it was asked for or its time was over.
    """
    found = _locked(account_id, sandbox_id)
    _check(found.sandbox, Status.RUNNING, _NOT_NOW)
    values = {"snapshot_id": new_id("snap"), "reason": reason}
    room = None if beyond_cap else _Room(account_id, KEPT, found.plan.max_snapshots)
    turned = _turned(sandbox_id, Status.RUNNING, Status.PAUSING, values, room=room)
    if turned is None:
        raise limits.snapshot_cap(found.plan)
    turned.account = found.sandbox.account
    return turned


def pause_end(*, sandbox: Sandbox, kept: PausedSandbox, entry: AuditEntry) -> Sandbox:
    """The host holds what ``pause_begin`` gave still; ``entry`` is recorded along with it.

    Raises ``WrongState`` when it was ended meanwhile.
    """
    values = _stands_still(sandbox.account.plan, kept)
    turned = _turned_and_told(sandbox.id, Status.PAUSING, Status.PAUSED, values, entry)
    if turned is None:
        raise WrongState("The sandbox was ended while it was being paused; create another.")
    return turned


def paused(sandbox: Sandbox) -> None:
    """Note that a locked row's sandbox stands still; how much is kept is not known."""
    values = _stands_still(sandbox.account.plan, None)
    _turned(sandbox.id, Status(sandbox.status), Status.PAUSED, values)


def _stands_still(plan: Plan, kept: PausedSandbox | None) -> dict[str, Any]:
    now, days = timezone.now(), plan.paused_days
    values = {
        "paused_at": now,
        "paused_expires_at": None if days is None else now + timedelta(days=days),
        "survives_machine_restart": kept is not None and kept.is_saved,
        "why_unsaved": kept.unsaved if kept is not None else "",
    }
    return values if kept is None else {**values, "snapshot_size_mb": kept.size_mb}


@transaction.atomic
def resume_begin(*, account_id: str, sandbox_id: str, through_hold: bool = False) -> Sandbox:
    """Its row in ``resuming``, admitted as a new sandbox would be. Raises ``SandboxError``.

    One that a person holds is let go by people only: ``through_hold``.
    """
    found = _locked(account_id, sandbox_id)
    sandbox, plan = found.sandbox, found.plan
    if sandbox.holder is not None and not through_hold and not sandbox.ended:
        name = sandbox.holder.name or "An operator"
        raise WrongState(f"{name} holds this run; it goes on when it is let go in the console.")
    _check(sandbox, Status.PAUSED, _NOT_ASLEEP)
    limits.check_credit(plan=plan, spent=found.spent)
    limits.check_run_budget(budget_eur=sandbox.budget_eur, spent_eur=found.run_eur)
    now = timezone.now()
    expires_at = limits.capped_expiry(
        now=now,
        started_at=now,
        seconds=sandbox.timeout_seconds,
        lifetime_seconds=plan.max_running_lifetime_seconds,
    )
    room = _Room(account_id, LIVE, plan.max_concurrent)
    values = {"expires_at": expires_at}
    turned = _turned(sandbox_id, Status.PAUSED, Status.RESUMING, values, room=room)
    if turned is None:
        raise limits.concurrency_cap(plan)
    return turned


def resume_end(*, sandbox_id: str, entry: AuditEntry) -> Sandbox:
    """The host let it go on; ``entry`` is recorded along with it.

    Raises ``WrongState`` when it was ended meanwhile.
    """
    turned = _turned_and_told(sandbox_id, Status.RESUMING, Status.RUNNING, _goes_on(), entry)
    if turned is None:
        raise WrongState("The sandbox was ended while it was being resumed; create another.")
    return turned


def resumed(sandbox: Sandbox) -> None:
    """Note that a locked row's sandbox runs."""
    _turned(sandbox.id, Status(sandbox.status), Status.RUNNING, _goes_on())


def _goes_on() -> dict[str, Any]:
    """Its longest run counts from here."""
    return {"started_at": timezone.now(), "held_by": None, "held_at": None, "reason": ""}


@transaction.atomic
def turn_failed(*, sandbox_id: str, error: HostError) -> None:
    """Back to where it was. A host that did not answer may have done it: the reaper asks it."""
    sandbox = Sandbox.objects.select_for_update(no_key=True).get(id=sandbox_id)
    before = {Status.PAUSING: Status.RUNNING, Status.RESUMING: Status.PAUSED}
    if sandbox.status not in before:
        return
    if error.code == "host_unreachable":
        Sandbox.objects.filter(id=sandbox_id).update(turned_at=_NEVER)
        return
    values = {"reason": ""} if sandbox.status == Status.PAUSING else {}
    status = Status(sandbox.status)
    _turned(sandbox_id, status, before[status], values)


def _check(sandbox: Sandbox, wanted: Status, reasons: Mapping[Status, str]) -> None:
    if sandbox.status != wanted:
        reason = reasons.get(Status(sandbox.status))
        raise WrongState(reason or why_not(sandbox.status, sandbox.reason))


@dataclass(frozen=True, slots=True)
class _Found:
    """A locked sandbox, and all that decides whether it may be turned."""

    sandbox: Sandbox
    spent: Spent
    run_eur: Decimal

    @property
    def plan(self) -> Plan:
        return self.sandbox.account.plan


def _locked(account_id: str, sandbox_id: str) -> _Found:
    """Both rows, always in this order; so whoever counts an account's sandboxes after this knows
    those of all who have counted before. Raises ``SandboxNotFound``.
    """
    if not SANDBOX_ID.fullmatch(sandbox_id):
        raise SandboxNotFound(sandbox_id)
    with connection.cursor() as cursor:
        cursor.execute(_locking_query(), [account_id, sandbox_id])
        row = cursor.fetchone()
    if row is None:
        raise SandboxNotFound(sandbox_id)
    of_plan = len(columns_of(Account))
    of_sandbox = of_plan + len(columns_of(Plan))
    beyond = of_sandbox + len(columns_of(Sandbox))
    account = model_of(Account, row[:of_plan])
    account.plan = model_of(Plan, row[of_plan:of_sandbox])
    sandbox = model_of(Sandbox, row[of_sandbox:beyond])
    sandbox.account = account
    return _Found(sandbox, Spent(*row[beyond:-1]), row[-1])


@cache
def _locking_query() -> str:
    """No key changes, so that rows which refer to these two can be made meanwhile."""
    columns = [
        f"{name}.{column}"
        for name, model in (("a", Account), ("p", Plan), ("b", Sandbox))
        for column in columns_of(model)
    ]
    return f"""
        SELECT {", ".join(columns)}, {SPENT_COLUMNS}, CASE WHEN b.budget_eur IS NULL THEN 0 ELSE (
            SELECT coalesce(sum(eur), 0) FROM usage_usage WHERE sandbox_id = b.id
        ) END
        FROM accounts_account a
        JOIN accounts_plan p ON p.name = a.plan_id
        JOIN sandboxes_sandbox b ON b.account_id = a.id
        {SPENT_JOINS}
        WHERE a.id = %s AND b.id = %s
        FOR NO KEY UPDATE OF a, b
    """  # noqa: S608 - names of tables and columns, none from outside


@dataclass(frozen=True, slots=True)
class _Room:
    """At most ``most`` sandboxes of an account may be in ``states``, the one that comes included.

    ``_locked`` has been called by whoever counts.
    """

    account_id: str
    states: Sequence[Status]
    most: int


_HAS_ROOM: Final = """
    AND (SELECT count(*) FROM sandboxes_sandbox WHERE account_id = %s AND status = ANY(%s)) < %s
"""


def _turned_and_told(
    sandbox_id: str, was: Status, now: Status, values: Mapping[str, Any], entry: AuditEntry
) -> Sandbox | None:
    """``entry`` tells what the host did, also of one that was ended meanwhile."""
    with transaction.atomic():
        turned = _turned(sandbox_id, was, now, values)
        entry.save(force_insert=True)
    return turned


def _turned(
    sandbox_id: str,
    was: Status,
    now: Status,
    values: Mapping[str, Any],
    *,
    room: _Room | None = None,
) -> Sandbox | None:
    """The row with ``values`` and the status ``now``; None when it is not ``was`` any more, or has
    no ``room``. Call it in a transaction."""
    values = {"status": now.value, "turned_at": timezone.now(), **values}
    given = [*values.values(), sandbox_id, was.value]
    sql = f"""
        UPDATE sandboxes_sandbox SET {", ".join(f"{name} = %s" for name in values)}
        WHERE id = %s AND status = %s {_HAS_ROOM if room else ""}
        RETURNING {", ".join(columns_of(Sandbox))}
    """  # noqa: S608 - names of columns, none from outside
    if room is not None:
        given += [room.account_id, [state.value for state in room.states], room.most]
    with connection.cursor() as cursor:
        cursor.execute(sql, given)
        row = cursor.fetchone()
    if row is None:
        return None
    sandbox = model_of(Sandbox, row)
    sandbox_changed(sandbox, was=was)
    announce(
        group=account_group(sandbox.account_id),
        message={"type": "sandbox.changed", "sandbox_id": sandbox.id},
    )
    return sandbox
