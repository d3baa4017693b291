"""Who wants to be told, and what was told to whom."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone

from accounts.ids import new_id
from accounts.models import Account


def new_webhook_id() -> str:
    """A function of its own because a model's default must be importable by migrations."""
    return new_id("whk")


def new_delivery_id() -> str:
    """See ``new_webhook_id``."""
    return new_id("whd")


class Webhook(models.Model):
    """An address that is told of lifecycle events.

    ``salt`` is what the secret is derived from, together with a key that is not in the database.
    ``event_types`` null means every type. ``consecutive_failures`` counts deliveries that were
    given up, not attempts. ``last_delivery_at`` is when one last ended, well or badly.
    """

    id = models.CharField(primary_key=True, max_length=40, default=new_webhook_id, editable=False)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="webhooks")
    actor = models.JSONField()
    url = models.CharField(max_length=2048)
    event_types = ArrayField(models.CharField(max_length=64), null=True)
    salt = models.CharField(max_length=64)
    active = models.BooleanField(default=True)
    consecutive_failures = models.PositiveIntegerField(default=0)
    last_delivery_at = models.DateTimeField(null=True)
    last_error = models.CharField(max_length=500, null=True)  # noqa: DJ001 - null on the wire
    created_at = models.DateTimeField(default=timezone.now)

    def __str__(self) -> str:
        return f"{self.id} to {self.url}"


class DeliveryStatus(models.TextChoices):
    """``pending`` also between two attempts."""

    PENDING = "pending", "Pending"
    DELIVERED = "delivered", "Delivered"
    FAILED = "failed", "Failed"


class Delivery(models.Model):
    """One event for one webhook: first what is to be sent, then what became of it.

    Its id is the same for every attempt. ``body`` is sent and signed byte for byte. ``due_at`` is
    when the next attempt may begin; ``claimed_until`` is set while one is under way, and tells for
    how long the process that makes it is to be believed alive. The ``response_…`` fields, ``error``
    and ``duration_ms`` are the last attempt's.
    """

    id = models.CharField(primary_key=True, max_length=40, default=new_delivery_id, editable=False)
    webhook = models.ForeignKey(
        Webhook, on_delete=models.CASCADE, related_name="deliveries", db_index=False
    )
    event_id = models.CharField(max_length=40)
    event_type = models.CharField(max_length=64)
    subject = models.CharField(max_length=64)
    body = models.TextField()
    replay_of = models.CharField(max_length=40, blank=True)
    status = models.CharField(
        max_length=16, choices=DeliveryStatus.choices, default=DeliveryStatus.PENDING
    )
    attempts = models.PositiveIntegerField(default=0)
    created_at = models.DateTimeField(default=timezone.now)
    due_at = models.DateTimeField(default=timezone.now)
    claimed_until = models.DateTimeField(null=True)
    ended_at = models.DateTimeField(null=True)
    response_status = models.PositiveIntegerField(null=True)
    response_body = models.TextField(blank=True)
    error = models.CharField(max_length=500, blank=True)
    duration_ms = models.PositiveIntegerField(null=True)

    class Meta:
        verbose_name_plural = "deliveries"
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["webhook", "-id"], name="delivery_newest"),
            models.Index(fields=["webhook", "status", "-id"], name="delivery_by_status"),
            models.Index(
                fields=["webhook", "due_at"],
                name="delivery_due",
                condition=models.Q(status=DeliveryStatus.PENDING),
            ),
            models.Index(
                fields=["ended_at"],
                name="delivery_ended",
                condition=models.Q(ended_at__isnull=False),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.id}: {self.event_type} is {self.status}"


class Attempt(models.Model):
    """One try of a delivery, as it went. Goes with its delivery.

    ``response_body`` is the first of it (``posting.BODY_KEPT``); ``error`` is empty where it was
    taken.
    """

    delivery = models.ForeignKey(
        Delivery, on_delete=models.CASCADE, related_name="tries", db_index=False
    )
    number = models.PositiveSmallIntegerField()
    at = models.DateTimeField()
    duration_ms = models.PositiveIntegerField()
    response_status = models.PositiveIntegerField(null=True)
    response_body = models.TextField(blank=True)
    error = models.CharField(max_length=500, blank=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["delivery", "number"], name="attempt_once"),
        ]

    def __str__(self) -> str:
        return f"{self.delivery_id}, try {self.number}"
