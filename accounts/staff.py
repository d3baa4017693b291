"""What staff may edit, in Django's admin: rows of the installation, with every change recorded."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date
from decimal import Decimal
from typing import Any, cast

from django.contrib import admin, auth
from django.contrib.auth.views import redirect_to_login
from django.db.models import Model, QuerySet
from django.forms import ModelForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render

from accounts.models import User
from accounts.origin import origin_of
from accounts.services import audit_record
from timeline.events import Actor


class StaffSite(admin.AdminSite):
    """Signed in as everywhere else, with the second step of who has one."""

    site_header = "orkestr administration"
    site_title = "orkestr administration"
    index_title = "Rows of this installation"
    enable_nav_sidebar = False

    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """The console's own page; somebody who is no staff is told so."""
        if request.user.is_authenticated:
            message = "Only staff of this installation may open its administration."
            return render(request, "console/refused.html", {"message": message}, status=403)
        return redirect_to_login(request.GET.get("next") or request.path)

    def logout(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Of the console, too."""
        if request.method == "POST":
            auth.logout(request)
        return redirect("login")

    def password_change(self, request: HttpRequest, extra_context: Any = None) -> Any:
        """Where everybody changes theirs."""
        return redirect("settings-you")


class Recorded(admin.ModelAdmin):  # type: ignore[type-arg]  # not subscriptable when it runs
    """Rows whose changes are on the audit record, before and after."""

    def save_related(
        self, request: HttpRequest, form: ModelForm[Any], formsets: Any, change: bool
    ) -> None:
        """Many-to-many fields are saved by then, so that the record is of the whole row."""
        super().save_related(request, form, formsets, change)
        if not change:
            after = {name: plain(value) for name, value in form.cleaned_data.items()}
            self.record(request, "staff.added", form.instance, before={}, after=after)
        elif form.changed_data:
            before = {name: plain(form.initial.get(name)) for name in form.changed_data}
            after = {name: plain(form.cleaned_data.get(name)) for name in form.changed_data}
            # A form counts some fields as changed that hold what they held.
            same = [name for name in after if before[name] == after[name]]
            for name in same:
                del before[name], after[name]
            if after:
                self.record(request, "staff.changed", form.instance, before=before, after=after)

    def delete_model(self, request: HttpRequest, obj: Model) -> None:
        """One row."""
        before, target = _row(obj), self.target(obj)
        super().delete_model(request, obj)
        self.record(request, "staff.deleted", obj, before=before, after={}, target=target)

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> None:
        """Each of them is recorded."""
        for obj in queryset:
            self.delete_model(request, obj)

    def target(self, obj: Model) -> str:
        """What the record calls a row."""
        return f"{obj._meta.verbose_name} {obj.pk}"

    def account_of(self, obj: Model) -> str | None:
        """Whose record the change is on; the installation's own where it is nobody's."""
        return None

    def record(
        self,
        request: HttpRequest,
        action: str,
        obj: Model,
        *,
        before: Mapping[str, Any],
        after: Mapping[str, Any],
        target: str = "",
    ) -> None:
        """By whom and from where, as every other act."""
        audit_record(
            principal=None,
            actor=actor_of(request),
            account_id=self.account_of(obj),
            action=action,
            target=target or self.target(obj),
            before=before,
            after=after,
            origin=origin_of(request),
        )


def actor_of(request: HttpRequest) -> Actor:
    """Who of the staff it is; the site lets nobody else in."""
    return cast(User, request.user).actor


def plain(value: Any) -> Any:
    """A field's value as JSON has it."""
    if isinstance(value, QuerySet | list | tuple | set):
        return [plain(one) for one in value]
    if isinstance(value, Model):
        return plain(value.pk)
    if isinstance(value, Decimal):
        return str(value.normalize())
    if isinstance(value, date):
        return value.isoformat()
    return value if isinstance(value, str | int | float | bool | None) else str(value)


def _row(obj: Model) -> dict[str, Any]:
    return {field.name: plain(field.value_from_object(obj)) for field in obj._meta.concrete_fields}
