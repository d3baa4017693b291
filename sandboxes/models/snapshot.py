"""Named copies of sandboxes."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from accounts.ids import new_id
from accounts.models import Account
from sandboxes.models.states import Isolation, SnapshotStatus


def new_snapshot_id() -> str:
    """``snap_`` and a ULID."""
    return new_id("snap")


class Snapshot(models.Model):
    """A named copy of a sandbox, with the spec that its forks get.

    ``source_id`` is no key: a snapshot outlives its source. A deleted one stays as a row, so that
    deleting it again is no error.
    """

    id = models.CharField(primary_key=True, max_length=40, default=new_snapshot_id, editable=False)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="snapshots")
    name = models.CharField(max_length=100, blank=True)
    status = models.CharField(
        max_length=16, choices=SnapshotStatus.choices, default=SnapshotStatus.CAPTURING
    )
    source_id = models.CharField(max_length=40)
    template = models.CharField(max_length=64)
    size = models.CharField(max_length=32)
    cpu = models.DecimalField(max_digits=6, decimal_places=2)
    memory_mb = models.PositiveIntegerField()
    network = models.CharField(max_length=16)
    isolation = models.CharField(max_length=16, choices=Isolation.choices, default=Isolation.RUNC)
    allow_domains = ArrayField(models.CharField(max_length=253), null=True, blank=True)
    region = models.CharField(max_length=32)
    node_id = models.CharField(max_length=64)
    size_mb = models.PositiveIntegerField(null=True)
    includes_memory = models.BooleanField(default=False)
    why_no_memory = models.TextField(blank=True)
    error = models.TextField(blank=True)
    created_at = models.DateTimeField(default=timezone.now)
    ready_at = models.DateTimeField(null=True)
    deleted_at = models.DateTimeField(null=True)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["account", "-id"], name="snapshot_newest"),
        ]

    def __str__(self) -> str:
        return self.id
