"""Disks that outlive sandboxes."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils import timezone

from accounts.ids import new_id
from accounts.models import Account


def new_volume_id() -> str:
    """``vol_`` and a ULID."""
    return new_id("vol")


class Volume(models.Model):
    """A disk that outlives sandboxes. ``volumes.volumes_of`` finds who has it: ``holder_id``.

    ``node_id`` and ``region`` are empty until it is placed, by the first sandbox with it or, for
    the region, by whoever made it. ``dropped_at`` is when a deleted one's disk was gone too.
    """

    id = models.CharField(primary_key=True, max_length=40, default=new_volume_id, editable=False)
    account = models.ForeignKey(
        Account, on_delete=models.CASCADE, related_name="volumes", db_index=False
    )
    name = models.CharField(max_length=64)
    size_mb = models.PositiveIntegerField()
    region = models.CharField(max_length=32, blank=True)
    node_id = models.CharField(max_length=64, blank=True)
    max_lifetime_days = models.PositiveIntegerField(null=True)
    max_lifetime_hours = models.PositiveIntegerField(null=True)
    created_at = models.DateTimeField(default=timezone.now)
    expires_at = models.DateTimeField(null=True)
    deleted_at = models.DateTimeField(null=True)
    dropped_at = models.DateTimeField(null=True)

    holder_id: str | None = None

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["account", "name"],
                name="volume_name",
                condition=models.Q(deleted_at=None),
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["account", "-id"], name="volume_newest"),
            models.Index(
                fields=["expires_at"],
                name="volume_expiring",
                condition=models.Q(deleted_at=None, expires_at__isnull=False),
            ),
            models.Index(
                fields=["deleted_at"],
                name="volume_deleted",
                condition=models.Q(deleted_at__isnull=False, dropped_at=None),
            ),
        ]

    def __str__(self) -> str:
        return self.name
