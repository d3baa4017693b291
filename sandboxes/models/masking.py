"""What an account hides from its timelines."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils import timezone

from accounts.models import Account
from sandboxes.host.patterns import LENGTH


class MaskingPattern(models.Model):
    """What an account hides from its timelines beside what is always hidden (``masking.py``)."""

    account = models.ForeignKey(
        Account, on_delete=models.CASCADE, related_name="masking_patterns", db_index=False
    )
    name = models.CharField(max_length=60)
    expression = models.CharField(max_length=LENGTH)
    changed_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["account", "name"], name="masking_pattern_name"),
        ]

    def __str__(self) -> str:
        return self.name
