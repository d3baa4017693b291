"""The rows of accounts that staff edit."""

from __future__ import annotations

import json
from typing import Any

from django import forms
from django.contrib import admin
from django.contrib.auth.models import Group
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.utils.html import format_html
from django.utils.safestring import SafeString

from accounts.factors import second_step_reset
from accounts.models import Account, AuditEntry, Plan, Size, User
from accounts.origin import origin_of
from accounts.staff import Recorded, actor_of

# Nothing here goes by Django's groups: a role in an account says what somebody may do.
admin.site.unregister(Group)

NETWORKS = (("off", "off"), ("restricted", "restricted"), ("open", "open"))


class PlanForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable when it runs
    """Networks are chosen, not typed."""

    networks = forms.MultipleChoiceField(choices=NETWORKS, widget=forms.CheckboxSelectMultiple)

    class Meta:
        model = Plan
        fields = "__all__"  # noqa: DJ007 - all of a plan is to be edited, and none of it is secret


@admin.register(Plan)
class PlanAdmin(Recorded):
    """What accounts may use. A change holds for what is made from then on."""

    form = PlanForm
    list_display = ("name", "max_concurrent", "trial_credit_eur", "stops_at_credit", "isolation")
    filter_horizontal = ("sizes",)

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """A name is what accounts refer to."""
        return ("name",) if obj else ()


@admin.register(Size)
class SizeAdmin(Recorded):
    """Sizes and what they cost."""

    list_display = ("name", "cpu", "memory_mb", "disk_mb", "eur_per_cpu_hour", "eur_per_gb_hour")

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """A name is what sandboxes refer to."""
        return ("name",) if obj else ()


@admin.register(Account)
class AccountAdmin(Recorded):
    """Which plan an account has. Accounts come and go elsewhere."""

    list_display = ("name", "plan", "created_at")
    list_filter = ("plan",)
    search_fields = ("name", "id")
    fields = ("id", "name", "plan", "created_at")
    readonly_fields = ("id", "created_at")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Not here: an account needs an owner."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Its record stays."""
        return False

    def account_of(self, obj: Model) -> str | None:
        """Its members see who changed it."""
        return str(obj.pk)


@admin.register(User)
class UserAdmin(Recorded):
    """Who can sign in, and who is staff. No password, and nothing that signs in, is shown."""

    list_display = ("email", "name", "is_active", "is_staff", "date_joined")
    list_filter = ("is_active", "is_staff")
    search_fields = ("email", "name")
    fields = ("email", "name", "is_active", "is_staff", "date_joined")
    readonly_fields = ("email", "date_joined")
    actions = ("reset_second_step",)

    @admin.action(description="Take the second step away and end all sessions")
    def reset_second_step(self, request: HttpRequest, people: QuerySet[User]) -> None:
        """For who lost their device and their recovery codes."""
        for user in people:
            second_step_reset(user=user, actor=actor_of(request), origin=origin_of(request))
        self.message_user(request, f"{len(people)} sign in by their password alone now.")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """People come by invitation."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Switch them off instead."""
        return False


@admin.register(AuditEntry)
class AuditEntryAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # not subscriptable
    """The whole record, the installation's own entries among it. To be read."""

    list_display = ("at", "who", "action", "target", "account", "address")
    list_select_related = ("account",)
    search_fields = ("action", "target", "actor__name")
    date_hierarchy = None
    show_full_result_count = False
    list_per_page = 50
    ordering = ("-id",)
    fields = ("at", "who", "action", "target", "account", "was", "became", "address", "user_agent")
    readonly_fields = fields

    @admin.display(description="who")
    def who(self, entry: AuditEntry) -> str:
        """By name, else by kind."""
        return str(entry.actor.get("name") or entry.actor.get("type"))

    @admin.display(description="before")
    def was(self, entry: AuditEntry) -> SafeString:
        """As JSON."""
        return format_html("<pre>{}</pre>", json.dumps(entry.before, indent=2))

    @admin.display(description="after")
    def became(self, entry: AuditEntry) -> SafeString:
        """As JSON."""
        return format_html("<pre>{}</pre>", json.dumps(entry.after, indent=2))

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Acts write it."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody does."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        """Nobody does."""
        return False
