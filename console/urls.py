"""Every address of the platform."""

from __future__ import annotations

from django.urls import path

from console import health

urlpatterns = [
    path("healthz", health.healthz),
    path("readyz", health.readyz),
]
