"""The default allowlist of restricted networks, for staff to edit."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from accounts.staff import Recorded
from sandboxes.allowlist import checked_domains
from sandboxes.errors import InvalidRequest
from sandboxes.models import AllowedDomain


class DomainForm(forms.ModelForm):  # type: ignore[type-arg]  # not subscriptable when it runs
    """A domain in the one spelling that sandboxes' requests are held against."""

    class Meta:
        model = AllowedDomain
        fields = ("domain", "enabled", "ports", "http_ports")

    def clean_domain(self) -> str:
        """Bare host names only."""
        try:
            (name,) = checked_domains([self.cleaned_data["domain"]])
        except InvalidRequest as error:
            raise forms.ValidationError(str(error)) from None
        return name


@admin.register(AllowedDomain)
class AllowedDomainAdmin(Recorded):
    """A change holds for sandboxes made from then on."""

    form = DomainForm
    list_display = ("domain", "enabled", "source", "ports", "http_ports")
    list_filter = ("enabled", "source")
    search_fields = ("domain",)

    def get_readonly_fields(self, request: HttpRequest, obj: Model | None = None) -> Any:
        """Another domain is another row."""
        return ("domain",) if obj else ()
