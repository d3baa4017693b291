"""Usage as it is counted and billed. Money is decimal everywhere; time and memory are integers."""

from __future__ import annotations

from datetime import date
from typing import ClassVar

from django.db import models

from accounts.models import Account
from sandboxes.models import Sandbox


class Meter(models.Model):
    """How far one sandbox's meter on the host has been counted.

    The host's totals only grow within a ``generation``; what they have moved beyond these is what
    is new. ``ended``: these are the last ones.
    """

    sandbox_id = models.CharField(primary_key=True, max_length=40)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="+")
    generation = models.BigIntegerField(default=0)
    cpu_us = models.BigIntegerField(default=0)
    memory_kib_ms = models.BigIntegerField(default=0)
    ended = models.BooleanField(default=False)

    def __str__(self) -> str:
        return self.sandbox_id


class Used(models.Model):
    """Microseconds of CPU, the working set's KiB times milliseconds, and the price of both then."""

    cpu_us = models.BigIntegerField()
    memory_kib_ms = models.BigIntegerField()
    eur = models.DecimalField(max_digits=20, decimal_places=12)

    class Meta:
        abstract = True


class Usage(Used):
    """What one sandbox used in one hour (UTC) in which it was counted.

    The row outlives the sandbox's own.
    """

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="usage")
    sandbox_id = models.CharField(max_length=40)
    hour = models.DateTimeField()

    class Meta:
        verbose_name_plural = "usage"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["sandbox_id", "hour"], name="usage_once_an_hour"),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["account", "-hour"], name="usage_by_account"),
        ]

    def __str__(self) -> str:
        return f"{self.sandbox_id} at {self.hour:%Y-%m-%d %H}h"


class DayUsage(Used):
    """An account's usage of a day (UTC) by template and token, kept in the same transactions.

    Sums of usage rows, so few that a page reads a month of them at once. ``token_id`` is empty for
    what a person made.
    """

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="+", db_index=False)
    day = models.DateField()
    template = models.CharField(max_length=64)
    token_id = models.CharField(max_length=40, blank=True)

    class Meta:
        verbose_name_plural = "usage by day"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["account", "day", "template", "token_id"], name="usage_once_a_day"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.account_id} on {self.day}"


class RunUsage(Used):
    """One sandbox's usage of a month (UTC), kept likewise. ``month`` is its first day."""

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="+", db_index=False)
    month = models.DateField()
    sandbox_id = models.CharField(max_length=40)
    template = models.CharField(max_length=64)
    token_id = models.CharField(max_length=40, blank=True)

    class Meta:
        verbose_name_plural = "usage by sandbox"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["account", "month", "sandbox_id"], name="usage_once_a_month"
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["account", "month", "-eur"], name="usage_dearest"),
        ]

    def __str__(self) -> str:
        return f"{self.sandbox_id} in {self.month:%Y-%m}"


class Spending(models.Model):
    """The sum of an account's usage rows, kept in the same transactions: asked at every create.

    ``month_eur`` is the part of the ``month`` (its first day, UTC) in which was counted last.
    """

    account = models.OneToOneField(
        Account, primary_key=True, on_delete=models.CASCADE, related_name="spending"
    )
    eur = models.DecimalField(max_digits=20, decimal_places=12)
    month = models.DateField(default=date(1970, 1, 1))
    month_eur = models.DecimalField(max_digits=20, decimal_places=12, default=0)

    class Meta:
        verbose_name_plural = "spending"

    def __str__(self) -> str:
        return f"{self.account_id}: {self.eur} EUR"


class Cap(models.Model):
    """What an account may spend in a month (UTC), as its owner wants it. No row is no cap."""

    account = models.OneToOneField(
        Account, primary_key=True, on_delete=models.CASCADE, related_name="cap"
    )
    monthly_eur = models.DecimalField(max_digits=10, decimal_places=2)

    def __str__(self) -> str:
        return f"{self.account_id}: {self.monthly_eur} EUR a month"


class AlertOf(models.TextChoices):
    """What an alert is about."""

    CREDIT = "credit", "The plan's credit"
    MONTH = "month", "The month's cap"


class Alert(models.Model):
    """That so much of a credit or cap was spent: told once by mail and webhook.

    ``period`` is the month of a cap as ``2030-01``, empty for the credit, which has none. A limit
    that was changed is a new one. ``mailed_at`` is null while the mail could not be sent, and
    ``claimed_at`` says since when a process has been sending it.
    """

    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="alerts")
    of = models.CharField(max_length=8, choices=AlertOf.choices)
    period = models.CharField(max_length=7, blank=True)
    limit_eur = models.DecimalField(max_digits=10, decimal_places=2)
    percent = models.PositiveSmallIntegerField()
    spent_eur = models.DecimalField(max_digits=20, decimal_places=12)
    at = models.DateTimeField()
    mailed_at = models.DateTimeField(null=True)
    claimed_at = models.DateTimeField(null=True)
    mail_error = models.CharField(max_length=200, blank=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["account", "of", "period", "limit_eur", "percent"], name="alert_once"
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["id"], name="alert_unmailed", condition=models.Q(mailed_at=None)),
        ]

    def __str__(self) -> str:
        return f"{self.account_id}: {self.percent} % of {self.limit_eur} EUR"


class Sample(models.Model):
    """A meter's totals at one moment, every ten seconds, for the history of a run.

    Totals, not rates: between any two rows of a ``generation`` lies exactly what was used
    meanwhile, however many rows between them are left out. ``slot`` is the Unix second that the
    ten seconds began at; the last row of a run has one more. Goes with the sandbox.
    """

    pk = models.CompositePrimaryKey("sandbox_id", "slot")
    sandbox = models.ForeignKey(Sandbox, on_delete=models.CASCADE, related_name="+", db_index=False)
    slot = models.BigIntegerField()
    at = models.DateTimeField()
    generation = models.BigIntegerField()
    cpu_us = models.BigIntegerField()
    memory_kib_ms = models.BigIntegerField()

    def __str__(self) -> str:
        return f"{self.sandbox_id} at {self.at:%Y-%m-%d %H:%M:%S}"
