"""Django's admin, under the console's own sign-in."""

from __future__ import annotations

from django.contrib.admin.apps import AdminConfig


class StaffAdminConfig(AdminConfig):
    """Each application's ``admin.py`` says which of its rows staff edit."""

    default_site = "accounts.staff.StaffSite"
