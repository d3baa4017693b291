"""The tables of the log. Events are written by ``timeline.store`` and ``.services`` only.

The index of words and the counts of stretches follow behind them (``.indexing``, ``.stretches``);
marks are whose notes they are (``sandboxes/notes.py``).
"""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.indexes import GinIndex
from django.contrib.postgres.search import SearchVectorField
from django.db import models
from django.db.models import F, Q
from django.db.models.fields.json import KeyTextTransform
from django.db.models.functions import MD5


class EventRow(models.Model):
    """One event, append-only. ``timeline.events.Event`` is what the rest of the program sees."""

    pk = models.CompositePrimaryKey("sandbox_id", "seq")
    sandbox_id = models.TextField()
    seq = models.BigIntegerField()
    at = models.DateTimeField()
    kind = models.TextField()
    actor = models.JSONField()
    span = models.TextField(null=True)  # noqa: DJ001 - most events belong to no span
    data = models.JSONField()

    class Meta:
        db_table = "timeline_event"
        indexes: ClassVar[list[models.Index]] = [
            models.Index(
                fields=["sandbox_id", "span"],
                condition=Q(kind__in=["command.started", "terminal.opened", "code.run"]),
                name="timeline_event_started",
            ),
            # Filters by kind stay fast however much output lies between; output has the key.
            models.Index(
                fields=["sandbox_id", "kind", "seq"],
                condition=~Q(kind__in=["command.output", "code.output"]),
                name="timeline_event_kind",
            ),
            # A file's history. By a digest: a path may be longer than an index takes.
            models.Index(
                F("sandbox_id"),
                MD5(KeyTextTransform("path", "data")),
                F("seq"),
                condition=Q(kind="file.written"),
                name="timeline_event_written",
            ),
        ]

    def __str__(self) -> str:
        return f"{self.sandbox_id} #{self.seq} {self.kind}"


class Head(models.Model):
    """Where a sandbox's log ends: its last ``seq``, and the last journal position it has.

    Whoever writes events locks this row first, which is what makes ``seq`` gapless.
    """

    sandbox_id = models.TextField(primary_key=True)
    seq = models.BigIntegerField(default=0)
    journal = models.BigIntegerField(default=0)

    class Meta:
        db_table = "timeline_head"

    def __str__(self) -> str:
        return f"{self.sandbox_id} at #{self.seq}"


class Mark(models.Model):
    """What people wrote on a log or pinned of it, as it stands now; ``note.*`` events tell how.

    A note's ``seq`` is that of its own ``note.added``, ``about`` the event it speaks of; a pin's
    ``seq`` is the event it holds. ``actor`` is ``Actor.to_json()`` of who made it.
    """

    class What(models.TextChoices):
        """The two sorts."""

        NOTE = "note", "Note"
        PIN = "pin", "Pin"

    sandbox_id = models.TextField()
    what = models.CharField(max_length=4, choices=What.choices)
    seq = models.BigIntegerField()
    about = models.BigIntegerField(null=True)
    text = models.TextField(blank=True)
    actor = models.JSONField()
    at = models.DateTimeField()
    edited_at = models.DateTimeField(null=True)
    removed_at = models.DateTimeField(null=True)

    class Meta:
        db_table = "timeline_mark"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["sandbox_id", "what", "seq"], name="timeline_mark_one"),
        ]

    def __str__(self) -> str:
        return f"{self.what} at #{self.seq} of {self.sandbox_id}"


class WordBlock(models.Model):
    """The words of the events ``first``…``last`` of one sandbox, for search in its output.

    Blocks follow one another without a gap from 1 on; what lies behind the last is not indexed yet.
    """

    pk = models.CompositePrimaryKey("sandbox_id", "last")
    sandbox_id = models.TextField()
    last = models.BigIntegerField()
    first = models.BigIntegerField()
    words = SearchVectorField()

    class Meta:
        db_table = "timeline_words"
        indexes: ClassVar[list[models.Index]] = [
            GinIndex(fields=["words"], name="timeline_words_gin")
        ]

    def __str__(self) -> str:
        return f"{self.sandbox_id} #{self.first}…#{self.last}"


class Stretch(models.Model):
    """What ended in the 64 events from ``64 × number + 1`` on, written once they are all there;
    ``commands_to`` and ``failed_to`` are the sums of all stretches up to this one."""

    pk = models.CompositePrimaryKey("sandbox_id", "number")
    sandbox_id = models.TextField()
    number = models.BigIntegerField()
    commands = models.IntegerField()
    failed = models.IntegerField()
    commands_to = models.BigIntegerField()
    failed_to = models.BigIntegerField()

    class Meta:
        db_table = "timeline_stretch"

    def __str__(self) -> str:
        return f"{self.sandbox_id}, stretch {self.number}"
