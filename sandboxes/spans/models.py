"""How far each run's commands were sent."""

from __future__ import annotations

from typing import ClassVar

from django.db import models

from sandboxes.models import Sandbox


class Sent(models.Model):
    """Everything up to ``seq`` is with the collector. ``done``: the run is over, and so is this."""

    sandbox = models.OneToOneField(
        Sandbox, on_delete=models.CASCADE, primary_key=True, related_name="+"
    )
    seq = models.BigIntegerField(default=0)
    done = models.BooleanField(default=False)

    class Meta:
        db_table = "spans_sent"
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["sandbox"], name="spans_open", condition=models.Q(done=False)),
        ]

    def __str__(self) -> str:
        return f"{self.sandbox_id} sent to #{self.seq}"
