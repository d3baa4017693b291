"""What operators see of volumes: how full each is, and which sandbox had it last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Final

from asgiref.sync import async_to_sync
from django.conf import settings
from django.db.models import OuterRef, Subquery

from sandboxes.host.types import HostError
from sandboxes.host.volume_client import VolumeClient
from sandboxes.models import Sandbox, Volume
from sandboxes.volumes import volumes_of

_MIB: Final = 1024 * 1024


@dataclass(frozen=True, slots=True)
class VolumeUse:
    """One volume. ``used_bytes`` is what it takes of the host's disk, null while the host is away.

    ``last_sandbox_id`` is its holder or had it last, empty when nobody ever had it.
    """

    volume: Volume
    used_bytes: int | None
    last_sandbox_id: str
    last_ended_at: datetime | None

    @property
    def is_held(self) -> bool:
        """Whether a sandbox that has not ended has it."""
        return self.volume.holder_id is not None

    @property
    def size_bytes(self) -> int:
        """The most it holds."""
        return self.volume.size_mb * _MIB


def volume_uses(account_id: str, *, limit: int) -> list[VolumeUse]:
    """An account's newest volumes, in two queries and one call of the host."""
    rows = list(volumes_of(account_id)[:limit])
    last = _last([row.id for row in rows])
    used = _used([row.id for row in rows if row.node_id])
    return [VolumeUse(row, _taken(row, used), *last[row.id]) for row in rows]


def _last(volume_ids: Sequence[str]) -> dict[str, tuple[str, datetime | None]]:
    """The last sandbox with each, empty for none, and when that one ended."""
    newest = Sandbox.objects.filter(volume=OuterRef("pk")).order_by("-id")
    rows = Volume.objects.filter(id__in=volume_ids).values_list(
        "id", Subquery(newest.values("id")[:1]), Subquery(newest.values("ended_at")[:1])
    )
    return {volume_id: (last_id or "", ended_at) for volume_id, last_id, ended_at in rows}


def _taken(row: Volume, used: dict[str, int] | None) -> int | None:
    """What no host has made yet takes nothing."""
    if not row.node_id:
        return 0
    return None if used is None else used.get(row.id)


@lru_cache
def _host() -> VolumeClient:
    return VolumeClient(settings.ORKESTR_HOST_SOCKET)


def _used(volume_ids: Sequence[str]) -> dict[str, int] | None:
    """None while the host does not answer: the page is of use without."""
    if not volume_ids:
        return {}
    try:
        return async_to_sync(_host().volume_used)(volume_ids)
    except HostError:
        return None
