"""Every address of the platform."""

from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

from console import health, platform_api
from console.observing.page import metrics

handler404 = "console.views.errors.not_found"

urlpatterns = [
    path("healthz", health.healthz),
    path("readyz", health.readyz),
    path("metrics", metrics),
    path("api/", platform_api.api.urls),
    path("api/<path:_>", platform_api.no_route),
    path("v1/", include("sandboxes.api.urls", namespace="v1")),
    path("admin/", admin.site.urls),
    path("", include("console.pages_urls")),
]
