"""Sandboxes, and which tokens were in them."""

from __future__ import annotations

from typing import ClassVar

from django.contrib.postgres.fields import ArrayField
from django.contrib.postgres.indexes import GinIndex, OpClass
from django.db import models
from django.db.models.functions import Cast, Concat, Upper
from django.utils import timezone

from accounts.ids import new_id
from accounts.models import Account, Token
from sandboxes.models.states import ENDED, LIVE, Isolation, Status
from sandboxes.models.volume import Volume
from timeline.events import Actor


def new_sandbox_id() -> str:
    """``sbx_`` and a ULID: later ids sort after earlier ones, so a list pages by id alone."""
    return new_id("sbx")


def text_of_sandbox() -> Concat:
    """What a search by text looks in: the id, and the metadata as they are written."""
    return Concat(
        "id",
        models.Value(" "),
        Cast("metadata", models.TextField()),
        output_field=models.TextField(),
    )


class Sandbox(models.Model):
    """One sandbox. Values of ``env`` never reach the database, only their names.

    ``actor`` is ``timeline.events.Actor.to_json()`` of who made it; ``reason`` is one machine word
    (``requested``, ``expired``, ``host_lost``…) and ``detail`` the sentence that people read.
    ``missing_since`` is when the host was first seen not to know a sandbox that should run.
    ``volume_name`` is what its volume is called, whatever becomes of that later.
    ``allow_domains`` is a restricted network's own allowlist; null where the default one applies.
    ``added_domains`` were allowed beside either while it ran.
    ``preview_auth``: whoever looks at one of its ports must show its token (sandboxes/previews.py).
    ``turned_at`` is when it last began to run, to be paused or to be resumed; ``snapshot_id`` and
    what follows it tell of the last pause, ``paused_expires_at`` null when it is kept for ever.
    ``budget_eur`` is what the run may cost, null for as much as it likes. While it is paused
    ``reason`` is ``usage_exhausted``, ``monthly_cap_reached``, ``budget_reached`` or
    ``token_revoked`` if that paused it, else empty.
    ``timeline_removed_at`` is when its events went, but for pinned ones (retention.py).
    ``held_by`` and ``held_at`` say which person holds it still, and since when (holding.py).
    """

    id = models.CharField(primary_key=True, max_length=40, default=new_sandbox_id, editable=False)
    account = models.ForeignKey(Account, on_delete=models.CASCADE, related_name="sandboxes")
    token = models.ForeignKey(
        Token, on_delete=models.SET_NULL, null=True, related_name="sandboxes", db_index=False
    )
    actor = models.JSONField()
    status = models.CharField(max_length=16, choices=Status.choices, default=Status.STARTING)
    template = models.CharField(max_length=64)
    size = models.CharField(max_length=32)
    cpu = models.DecimalField(max_digits=6, decimal_places=2)
    memory_mb = models.PositiveIntegerField()
    disk_mb = models.PositiveIntegerField()
    network = models.CharField(max_length=16)
    isolation = models.CharField(max_length=16, choices=Isolation.choices, default=Isolation.RUNC)
    allow_domains = ArrayField(models.CharField(max_length=253), null=True, blank=True)
    added_domains = ArrayField(models.CharField(max_length=253), default=list, blank=True)
    volume = models.ForeignKey(
        Volume, on_delete=models.SET_NULL, null=True, related_name="sandboxes", db_index=False
    )
    volume_name = models.CharField(max_length=64, blank=True)
    region = models.CharField(max_length=32)
    node_id = models.CharField(max_length=64)
    timeout_seconds = models.PositiveIntegerField()
    on_timeout = models.CharField(max_length=8)
    auto_resume = models.BooleanField(default=False)
    preview_auth = models.BooleanField(default=False)
    budget_eur = models.DecimalField(max_digits=12, decimal_places=4, null=True)
    env_names = ArrayField(models.CharField(max_length=256), default=list)
    metadata = models.JSONField(default=dict)
    created_at = models.DateTimeField(default=timezone.now)
    started_at = models.DateTimeField(null=True)
    expires_at = models.DateTimeField()
    ended_at = models.DateTimeField(null=True)
    timeline_removed_at = models.DateTimeField(null=True)
    missing_since = models.DateTimeField(null=True)
    turned_at = models.DateTimeField(default=timezone.now)
    paused_at = models.DateTimeField(null=True)
    paused_expires_at = models.DateTimeField(null=True)
    snapshot_id = models.CharField(max_length=40, blank=True)
    snapshot_size_mb = models.PositiveIntegerField(null=True)
    survives_machine_restart = models.BooleanField(default=False)
    why_unsaved = models.TextField(blank=True)
    held_by = models.JSONField(null=True)
    held_at = models.DateTimeField(null=True)
    reason = models.CharField(max_length=64, blank=True)
    detail = models.TextField(blank=True)

    class Meta:
        verbose_name_plural = "sandboxes"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["volume"],
                name="volume_holder",
                condition=models.Q(volume__isnull=False) & ~models.Q(status__in=ENDED),
            ),
        ]
        indexes: ClassVar[list[models.Index]] = [
            models.Index(fields=["account", "-id"], name="sandbox_newest"),
            models.Index(fields=["account", "status", "-id"], name="sandbox_by_status"),
            models.Index(fields=["account", "template", "-id"], name="sandbox_by_template"),
            models.Index(fields=["account", "network", "-id"], name="sandbox_by_network"),
            models.Index(fields=["token", "-id"], name="sandbox_by_token"),
            models.Index(
                fields=["volume", "-id"],
                name="sandbox_by_volume",
                condition=models.Q(volume__isnull=False),
            ),
            models.Index(
                fields=["account", "ended_at"],
                name="sandbox_failed",
                condition=models.Q(status=Status.FAILED),
            ),
            models.Index(
                fields=["account", "ended_at"],
                name="sandbox_with_timeline",
                condition=models.Q(status__in=ENDED, timeline_removed_at=None),
            ),
            models.Index(
                fields=["expires_at"],
                name="sandbox_live",
                condition=models.Q(status__in=LIVE),
            ),
            models.Index(
                fields=["paused_expires_at"],
                name="sandbox_paused",
                condition=models.Q(status=Status.PAUSED),
            ),
            models.Index(
                fields=["id"],
                name="sandbox_budgeted",
                condition=models.Q(status=Status.RUNNING, budget_eur__isnull=False),
            ),
            GinIndex(fields=["metadata"], name="sandbox_metadata", opclasses=["jsonb_path_ops"]),
            # Django asks for text in upper case. A long list of what is pending would be searched
            # line by line; this one is short (KB).
            GinIndex(
                OpClass(Upper(text_of_sandbox()), "gin_trgm_ops"),
                gin_pending_list_limit=256,
                name="sandbox_text",
            ),
        ]

    def __str__(self) -> str:
        return self.id

    @property
    def live(self) -> bool:
        """Whether it still uses the machine."""
        return self.status in LIVE

    @property
    def turning(self) -> bool:
        """Whether it is on its way from one state to another, and will be there in a moment."""
        return self.status in (Status.STARTING, Status.PAUSING, Status.RESUMING)

    @property
    def holder(self) -> Actor | None:
        """The person who holds it still."""
        return Actor.from_json(self.held_by) if self.held_by else None

    @property
    def ended(self) -> bool:
        """Whether it is over for good."""
        return self.status in ENDED


class TokenTouch(models.Model):
    """That a token did something in a sandbox which it had not made itself, first and last when."""

    token = models.ForeignKey(
        Token, on_delete=models.CASCADE, related_name="touches", db_index=False
    )
    sandbox = models.ForeignKey(Sandbox, on_delete=models.CASCADE, related_name="touches")
    first_at = models.DateTimeField()
    last_at = models.DateTimeField()

    class Meta:
        verbose_name_plural = "token touches"
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(fields=["token", "sandbox"], name="touch_once"),
        ]

    def __str__(self) -> str:
        return f"{self.token_id} was in {self.sandbox_id}"
