"""Named snapshots of sandboxes' files and memory, and the forks made from them."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Final

from asgiref.sync import async_to_sync
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.database import in_database
from accounts.origin import Origin
from accounts.policy import Principal, Scope, require
from accounts.selectors import account_locked
from accounts.services import audit_record
from sandboxes import limits
from sandboxes.errors import SnapshotNotFound, WrongState
from sandboxes.host.types import CapturedSandbox, HostError
from sandboxes.limits import SandboxRequest
from sandboxes.models import Sandbox, Snapshot, SnapshotStatus, Status
from sandboxes.selectors import sandbox_for
from sandboxes.services import host_client, why_not

CAPTURE_SECONDS: Final = 180
"""Longer than any capture may take: whoever began it is gone."""

BATCH: Final = 100
_NOWHERE: Final = Origin()

logger = logging.getLogger(__name__)

_capturing: set[asyncio.Task[Snapshot]] = set()


async def snapshot_create(
    *, principal: Principal, sandbox_id: str, name: str = "", origin: Origin = _NOWHERE
) -> Snapshot:
    """A copy of a sandbox, which runs on. Raises ``SandboxError`` and ``HostError``.

    Once begun it is finished even when the caller goes away.
    """
    require(principal, Scope.SANDBOXES_WRITE)
    limits.check_name(name)
    task = asyncio.create_task(_create(principal, sandbox_id, name, origin))
    _capturing.add(task)
    task.add_done_callback(_capturing.discard)
    return await asyncio.shield(task)


async def _create(principal: Principal, sandbox_id: str, name: str, origin: Origin) -> Snapshot:
    snapshot = await in_database(
        snapshot_begin, principal=principal, sandbox_id=sandbox_id, name=name
    )
    try:
        captured = await host_client().snapshot(
            sandbox_id, snapshot_id=snapshot.id, name=name, actor=principal.actor
        )
    except HostError as error:
        if error.code != "host_unreachable":  # else it may have a copy, which the reaper removes
            await in_database(snapshot_failed, snapshot_id=snapshot.id, detail=error.message)
        raise
    return await in_database(_made, principal, snapshot.id, captured, origin)


@transaction.atomic
def _made(
    principal: Principal, snapshot_id: str, captured: CapturedSandbox, origin: Origin
) -> Snapshot:
    snapshot = snapshot_ready(snapshot_id=snapshot_id, captured=captured)
    audit_record(
        principal=principal,
        action="snapshot.created",
        target=snapshot.id,
        after={
            "name": snapshot.name,
            "sandbox": snapshot.source_id,
            "size_mb": snapshot.size_mb,
            "includes_memory": snapshot.includes_memory,
        },
        origin=origin,
    )
    return snapshot


@transaction.atomic
def snapshot_begin(*, principal: Principal, sandbox_id: str, name: str) -> Snapshot:
    """A row in ``capturing``, within the plan's cap, counted under the account's lock."""
    account = account_locked(principal.account_id)
    sandbox = sandbox_for(principal=principal, sandbox_id=sandbox_id)
    if sandbox.status != Status.RUNNING:
        raise WrongState(why_not(sandbox.status, sandbox.reason))
    kept = snapshots_of(account.id).exclude(status=SnapshotStatus.FAILED).count()
    limits.check_named_snapshots(plan=account.plan, kept=kept)
    return Snapshot.objects.create(account=account, name=name, **_spec(sandbox))


def _spec(sandbox: Sandbox) -> dict[str, object]:
    return {
        "source_id": sandbox.id,
        "template": sandbox.template,
        "size": sandbox.size,
        "cpu": sandbox.cpu,
        "memory_mb": sandbox.memory_mb,
        "network": sandbox.network,
        "isolation": sandbox.isolation,
        "allow_domains": sandbox.allow_domains,
        "region": sandbox.region,
        "node_id": sandbox.node_id,
    }


def snapshot_ready(*, snapshot_id: str, captured: CapturedSandbox) -> Snapshot:
    """The host has the copy."""
    snapshot = Snapshot.objects.get(id=snapshot_id)
    snapshot.status, snapshot.size_mb = SnapshotStatus.READY, captured.size_mb
    snapshot.includes_memory = captured.includes_memory
    snapshot.why_no_memory = captured.without
    snapshot.ready_at = timezone.now()
    memory = ("includes_memory", "why_no_memory")
    snapshot.save(update_fields=["status", "size_mb", "ready_at", *memory])
    return snapshot


def snapshot_failed(*, snapshot_id: str, detail: str) -> None:
    """It counts against no cap, and says why."""
    rows = Snapshot.objects.filter(id=snapshot_id, status=SnapshotStatus.CAPTURING)
    rows.update(status=SnapshotStatus.FAILED, error=detail)


def give_up_capturing(*, now: datetime) -> None:
    """Fail what nobody finished because the process that began it died, and remove the copy."""
    before = now - timedelta(seconds=CAPTURE_SECONDS)
    stuck = Snapshot.objects.filter(status=SnapshotStatus.CAPTURING, created_at__lt=before)
    for snapshot_id in list(stuck.values_list("id", flat=True)[:BATCH]):
        try:
            async_to_sync(host_client().snapshot_drop)(snapshot_id)
        except HostError as error:
            logger.warning("the copy of %s stays for now: %s", snapshot_id, error.message)
        else:
            why = "The server stopped meanwhile; take another."
            snapshot_failed(snapshot_id=snapshot_id, detail=why)


async def snapshot_delete(
    *, principal: Principal, snapshot_id: str, origin: Origin = _NOWHERE
) -> None:
    """Remove a snapshot for good; its forks stay. Idempotent. ``SnapshotNotFound``."""
    require(principal, Scope.SANDBOXES_WRITE)
    await in_database(_owned, principal.account_id, snapshot_id)
    await host_client().snapshot_drop(snapshot_id)
    await in_database(_deleted, principal, snapshot_id, origin)


def _owned(account_id: str, snapshot_id: str) -> None:
    if not Snapshot.objects.filter(id=_plain(snapshot_id), account_id=account_id).exists():
        raise SnapshotNotFound(snapshot_id)


@transaction.atomic
def _deleted(principal: Principal, snapshot_id: str, origin: Origin) -> None:
    rows = Snapshot.objects.filter(id=snapshot_id)
    if not rows.filter(deleted_at__isnull=True).update(deleted_at=timezone.now()):
        return
    gone = rows.get()
    audit_record(
        principal=principal,
        action="snapshot.deleted",
        target=gone.id,
        before={"name": gone.name, "sandbox": gone.source_id, "size_mb": gone.size_mb},
        origin=origin,
    )


def snapshots_of(account_id: str) -> QuerySet[Snapshot]:
    """An account's snapshots, newest first."""
    return Snapshot.objects.filter(account_id=account_id, deleted_at__isnull=True).order_by("-id")


def snapshot_for(*, account_id: str, snapshot_id: str) -> Snapshot:
    """One of the account's. Raises ``SnapshotNotFound``."""
    snapshot = snapshots_of(account_id).filter(id=_plain(snapshot_id)).first()
    if snapshot is None:
        raise SnapshotNotFound(snapshot_id)
    return snapshot


def forked(request: SandboxRequest, *, account_id: str) -> SandboxRequest:
    """``request`` with what its snapshot says. Raises ``SnapshotNotFound`` and ``WrongState``."""
    snapshot = snapshot_for(account_id=account_id, snapshot_id=request.snapshot or "")
    if snapshot.status != SnapshotStatus.READY:
        raise WrongState(f"The snapshot is {snapshot.status}, not ready; take another.")
    return replace(
        request,
        template=snapshot.template,
        size=snapshot.size,
        network=snapshot.network,
        isolation=snapshot.isolation,
        allow_domains=snapshot.allow_domains,
        region=None,
    )


def _plain(snapshot_id: str) -> str:
    return snapshot_id.replace("\x00", "")
