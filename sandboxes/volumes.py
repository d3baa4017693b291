"""Persistent volumes: what sandboxes find at ``/persist``, one of them at a time.

Who holds a volume is no field to keep in step: it is the sandbox with that volume that has not
ended, of which the database allows one. A deleted volume stays as a row until its disk is gone.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Final

from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import transaction
from django.db.models import Exists, OuterRef, QuerySet, Subquery
from django.utils import timezone

from accounts.database import in_database
from accounts.models import Plan
from accounts.origin import Origin
from accounts.policy import Principal, Scope, require
from accounts.selectors import account_locked
from accounts.services import audit_record
from sandboxes import volume_limits
from sandboxes.api.replies import volume_json
from sandboxes.errors import InvalidRequest, VolumeExists, VolumeInUse, VolumeNotFound
from sandboxes.host.types import HostError
from sandboxes.host.volume_client import VolumeClient
from sandboxes.models import ENDED, Sandbox, Volume
from sandboxes.webhooks.kinds import EventType
from sandboxes.webhooks.outbox import record
from timeline.events import Actor

BATCH: Final = 100
_NOWHERE: Final = Origin()

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long after its creation a volume is deleted by itself: days or hours, or neither."""

    days: int | None = None
    hours: int | None = None

    def ends(self, created_at: datetime) -> datetime | None:
        if self.days is None and self.hours is None:
            return None
        return created_at + timedelta(days=self.days or 0, hours=self.hours or 0)


FOR_EVER: Final = Lifetime()


@lru_cache
def _host() -> VolumeClient:
    return VolumeClient(settings.ORKESTR_HOST_SOCKET)


def volumes_of(account_id: str) -> QuerySet[Volume]:
    """An account's volumes, newest first, each with ``holder_id``."""
    return _held(Volume.objects.filter(account_id=account_id, deleted_at=None)).order_by("-id")


def _held(rows: QuerySet[Volume]) -> QuerySet[Volume]:
    found: dict[str, Subquery] = {"holder_id": Subquery(_holders().values("id")[:1])}
    return rows.annotate(**found)


def _holders() -> QuerySet[Sandbox]:
    """Of the volume of the query around it; at most one."""
    return Sandbox.objects.filter(volume=OuterRef("pk")).exclude(status__in=ENDED)


def volume_for(*, account_id: str, volume_id: str) -> Volume:
    """One of the account's, with ``holder_id``. Raises ``VolumeNotFound``."""
    volume = volumes_of(account_id).filter(id=volume_id.replace("\x00", "")).first()
    if volume is None:
        raise VolumeNotFound(volume_id)
    return volume


@transaction.atomic
def volume_create(
    *,
    principal: Principal,
    name: str,
    size_gb: float = volume_limits.SIZE_GB,
    region: str | None = None,
    lifetime: Lifetime = FOR_EVER,
    origin: Origin = _NOWHERE,
) -> Volume:
    """An empty volume; its disk is made when it is first attached. Raises ``SandboxError``."""
    require(principal, Scope.SANDBOXES_WRITE)
    volume_limits.check_name(name)
    volume_limits.check_region(region)
    volume_limits.check_lifetime(days=lifetime.days, hours=lifetime.hours)
    plan = account_locked(principal.account_id).plan
    size_mb = volume_limits.size_mb(size_gb, plan=plan)
    if volumes_of(principal.account_id).filter(name=name).exists():
        raise VolumeExists(name)
    return _create(
        principal, name, size_mb, plan=plan, region=region, lifetime=lifetime, origin=origin
    )


def _create(
    principal: Principal,
    name: str,
    size_mb: int,
    *,
    plan: Plan,
    region: str | None = None,
    lifetime: Lifetime = FOR_EVER,
    origin: Origin = _NOWHERE,
) -> Volume:
    """Hold the account's lock."""
    volume_limits.check_count(plan=plan, kept=volumes_of(principal.account_id).count())
    volume = Volume(
        account_id=principal.account_id, name=name, size_mb=size_mb, region=region or ""
    )
    _set_lifetime(volume, lifetime)
    volume.save(force_insert=True)
    audit_record(
        principal=principal,
        action="volume.created",
        target=volume.id,
        after={"name": name, "size_mb": size_mb},
        origin=origin,
    )
    return volume


def _set_lifetime(volume: Volume, lifetime: Lifetime) -> None:
    volume.max_lifetime_days, volume.max_lifetime_hours = lifetime.days, lifetime.hours
    volume.expires_at = lifetime.ends(volume.created_at)


def volume_claimed(
    *, principal: Principal, wanted: str | None, plan: Plan, origin: Origin = _NOWHERE
) -> Volume | None:
    """What a new sandbox is to hold, by name or id; a name nobody has used yet makes a volume.

    Hold the account's lock until that sandbox's row is there. Raises ``SandboxError``.
    """
    if wanted is None:
        return None
    account_id = principal.account_id
    if volume_limits.VOLUME_ID.fullmatch(wanted):
        volume = volume_for(account_id=account_id, volume_id=wanted)
    else:
        volume_limits.check_name(wanted)
        found = volumes_of(account_id).filter(name=wanted).first()
        size_mb = volume_limits.default_size_mb(plan)
        volume = found or _create(principal, wanted, size_mb, plan=plan, origin=origin)
    if volume.holder_id is not None:
        raise VolumeInUse(volume.name, volume.holder_id)
    return volume


async def volume_place(sandbox: Sandbox) -> None:
    """Have the host make the disk of a sandbox's volume, the first time. Raises ``HostError``."""
    volume = sandbox.volume
    if volume is None or volume.node_id:
        return
    await _host().volume_make(volume.id, size_mb=volume.size_mb)
    await in_database(_placed, volume_id=volume.id, node_id=sandbox.node_id, region=sandbox.region)


def _placed(*, volume_id: str, node_id: str, region: str) -> None:
    Volume.objects.filter(id=volume_id).update(node_id=node_id)
    Volume.objects.filter(id=volume_id, region="").update(region=region)


@transaction.atomic
def volume_update(
    *, principal: Principal, volume_id: str, lifetime: Lifetime, origin: Origin = _NOWHERE
) -> Volume:
    """Another lifetime, counted from its creation. Raises ``SandboxError``.

    None that is over already: what is in it would go at once, by an act that is no deletion.
    """
    require(principal, Scope.SANDBOXES_WRITE)
    volume_limits.check_lifetime(days=lifetime.days, hours=lifetime.hours)
    volume = _locked(principal, volume_id)
    ends = lifetime.ends(volume.created_at)
    if ends is not None and ends <= timezone.now():
        raise InvalidRequest(
            f"That is past already for {volume.name}, so that it would be deleted at once. Delete "
            "it if that is what you want, or give it longer."
        )
    was = volume.expires_at
    _set_lifetime(volume, lifetime)
    volume.save(update_fields=["max_lifetime_days", "max_lifetime_hours", "expires_at"])
    audit_record(
        principal=principal,
        action="volume.updated",
        target=volume.id,
        before={"expires_at": was and was.isoformat()},
        after={"expires_at": volume.expires_at and volume.expires_at.isoformat()},
        origin=origin,
    )
    return volume


@transaction.atomic
def volume_move(
    *, principal: Principal, volume_id: str, region: str, origin: Origin = _NOWHERE
) -> Volume:
    """To where its next holder shall run; there is one region. Raises ``SandboxError``."""
    require(principal, Scope.SANDBOXES_WRITE)
    volume_limits.check_region(region)
    volume = _locked(principal, volume_id)
    if volume.holder_id is not None:
        raise VolumeInUse(volume.name, volume.holder_id)
    if volume.region == region:
        return volume
    was, volume.region = volume.region or None, region
    volume.save(update_fields=["region"])
    _tell(volume, EventType.VOLUME_MOVED, was=was)
    audit_record(
        principal=principal,
        action="volume.moved",
        target=volume.id,
        before={"region": was},
        after={"region": region},
        origin=origin,
    )
    return volume


async def volume_delete(*, principal: Principal, volume_id: str, origin: Origin = _NOWHERE) -> None:
    """Remove it with its data. Idempotent. Raises ``SandboxError``.

    Once it is marked it is gone for its account, and the reaper sees to what the host did not.
    """
    require(principal, Scope.SANDBOXES_WRITE)
    await in_database(_delete, principal, volume_id, origin)
    if await _drop(volume_id):
        await in_database(_dropped, [volume_id])


@transaction.atomic
def _delete(principal: Principal, volume_id: str, origin: Origin) -> None:
    gone = Volume.objects.filter(id=volume_id.replace("\x00", ""), deleted_at__isnull=False)
    if gone.filter(account_id=principal.account_id).exists():
        return
    volume = _locked(principal, volume_id)
    if volume.holder_id is not None:
        raise VolumeInUse(volume.name, volume.holder_id)
    _mark_deleted(volume)
    audit_record(
        principal=principal,
        action="volume.deleted",
        target=volume.id,
        before={"name": volume.name, "size_mb": volume.size_mb},
        origin=origin,
    )


def _mark_deleted(volume: Volume) -> None:
    volume.deleted_at = timezone.now()
    volume.save(update_fields=["deleted_at"])


async def _drop(volume_id: str) -> bool:
    """Whether the host has no disk of it any more."""
    try:
        await _host().volume_drop(volume_id)
    except HostError as error:
        logger.warning("the disk of %s stays for now: %s", volume_id, error.message)
        return False
    return True


def _dropped(volume_ids: Sequence[str]) -> None:
    Volume.objects.filter(id__in=volume_ids).update(dropped_at=timezone.now())


def volumes_expire(*, now: datetime) -> None:
    """Delete what is past its time and held by no sandbox, and tell webhooks of it."""
    due = Volume.objects.filter(~Exists(_holders()), deleted_at=None, expires_at__lte=now)
    for volume in due.order_by("expires_at")[:BATCH]:
        _expire(volume, now)


@transaction.atomic
def _expire(seen: Volume, now: datetime) -> None:
    account_locked(seen.account_id)
    volume = volumes_of(seen.account_id).filter(id=seen.id, expires_at__lte=now).first()
    if volume is None or volume.holder_id is not None:
        return
    _mark_deleted(volume)
    audit_record(
        principal=None,
        actor=Actor("policy", name="lifetime"),
        account_id=volume.account_id,
        action="volume.expired",
        target=volume.id,
        before={"name": volume.name, "size_mb": volume.size_mb},
    )
    _tell(volume, EventType.VOLUME_EXPIRED)


def volumes_drop() -> None:
    """Remove the disks of what was deleted."""
    rows = Volume.objects.filter(deleted_at__isnull=False, dropped_at=None).order_by("deleted_at")
    if ids := list(rows.values_list("id", flat=True)[:BATCH]):
        _dropped(async_to_sync(_drop_all)(ids))


async def _drop_all(volume_ids: Sequence[str]) -> list[str]:
    """Those of which the host has no disk any more."""
    gone = await asyncio.gather(*map(_drop, volume_ids))
    return [one for one, is_gone in zip(volume_ids, gone, strict=True) if is_gone]


def strays() -> list[str]:
    """Disks on the host of which there has never been a row here. Raises ``HostError``.

    They may be all that is left of somebody's data, after a backup was brought back: the reaper
    leaves them alone.
    """
    found = async_to_sync(_host().volume_ids)()
    known = set(Volume.objects.filter(id__in=found).values_list("id", flat=True))
    return [one for one in found if one not in known]


def strays_remove(volume_ids: Sequence[str]) -> None:
    """Remove these disks, all of them or none. Raises ``InvalidRequest`` and ``HostError``."""
    owned = sorted(set(volume_ids) - set(strays())) if volume_ids else []
    if owned:
        raise InvalidRequest(f"{owned[0]} is not a disk that the database does not know.")
    for volume_id in volume_ids:
        async_to_sync(_host().volume_drop)(volume_id)


def _tell(volume: Volume, kind: EventType, **more: object) -> None:
    data = {"volume_id": volume.id, "volume": volume_json(volume), **more}
    record(account_id=volume.account_id, kind=kind, subject=volume.id, data=lambda: data)


def _locked(principal: Principal, volume_id: str) -> Volume:
    account_locked(principal.account_id)
    return volume_for(account_id=principal.account_id, volume_id=volume_id)
