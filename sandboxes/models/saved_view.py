"""Lists of sandboxes to come back to."""

from __future__ import annotations

from typing import ClassVar

from django.db import models
from django.utils import timezone

from accounts.models import Account, User


class SavedView(models.Model):
    """A list of sandboxes to come back to: a name, and the filters as they stand in the address.

    ``user`` is whose it is; null where all of the account have it.
    """

    account = models.ForeignKey(
        Account, on_delete=models.CASCADE, related_name="saved_views", db_index=False
    )
    user = models.ForeignKey(User, on_delete=models.CASCADE, null=True, related_name="+")
    name = models.CharField(max_length=60)
    query = models.CharField(max_length=1000)
    created_at = models.DateTimeField(default=timezone.now)

    class Meta:
        constraints: ClassVar[list[models.BaseConstraint]] = [
            models.UniqueConstraint(
                fields=["account", "user", "name"], name="saved_view_name", nulls_distinct=False
            ),
        ]

    def __str__(self) -> str:
        return self.name
