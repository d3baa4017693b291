"""What says that a run may be stuck, and how far each run was read for it."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.db import models

from accounts.models import Account
from sandboxes.models import Sandbox


class Rule(models.TextChoices):
    """The plain rules (rules.py), by the words of ``signal.raised``."""

    REPEATED = "repeated", "Same command again"
    LOOP = "loop", "Going in circles"
    FAILING = "failing", "Failing streak"
    QUIET = "quiet", "No output"
    WAITING = "waiting", "Waits for input"
    DENIED = "denied", "Denied again and again"
    REVERTED = "reverted", "Edited and reverted"


class Progress(models.Model):
    """How far a run was read, what ``rules.Run`` keeps of it, and when time alone may raise one.

    ``done``: the run is over and was read to its end.
    """

    sandbox = models.OneToOneField(
        Sandbox, on_delete=models.CASCADE, primary_key=True, related_name="+"
    )
    seq = models.BigIntegerField(default=0)
    state = models.JSONField(default=dict)
    next_look = models.DateTimeField(null=True)
    done = models.BooleanField(default=False)

    class Meta:
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["sandbox"], name="progress_open", condition=models.Q(done=False)),
        ]

    def __str__(self) -> str:
        return f"{self.sandbox_id} read to #{self.seq}"


class Signal(models.Model):
    """One of a run. ``evidence`` are the events it stands on; ``seq`` is its own event.

    It is open until what it says is over (``resolved_at``), and shown until then or until a person
    dismisses it. What comes back after it was over is another one.
    """

    sandbox = models.ForeignKey(
        Sandbox, on_delete=models.CASCADE, related_name="signals", db_index=False
    )
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="+", db_index=False)
    rule = models.CharField(max_length=16, choices=Rule.choices)
    key = models.CharField(max_length=48)
    text = models.TextField()
    evidence = ArrayField(models.BigIntegerField())
    seq = models.BigIntegerField(null=True)
    raised_at = models.DateTimeField()
    resolved_at = models.DateTimeField(null=True)
    dismissed_at = models.DateTimeField(null=True)
    dismissed_by = models.JSONField(null=True)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["sandbox", "key"],
                name="signal_open",
                condition=models.Q(resolved_at=None),
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["account", "sandbox"],
                name="signal_shown",
                condition=models.Q(resolved_at=None, dismissed_at=None),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.rule} of {self.sandbox_id}"
