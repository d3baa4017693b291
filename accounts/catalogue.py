"""The plans and sizes a new installation starts with. From then on they are rows to edit."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from django.db import transaction

from accounts.models import Plan, Size

_RATES = {"eur_per_cpu_hour": Decimal("0.045"), "eur_per_gb_hour": Decimal("0.0145")}

SIZES: dict[str, dict[str, Any]] = {
    "small": {"cpu": 1, "memory_mb": 1024, "disk_mb": 2048, "pids": 512, **_RATES},
    "medium": {"cpu": 2, "memory_mb": 4096, "disk_mb": 8192, "pids": 1024, **_RATES},
    "large": {"cpu": 4, "memory_mb": 8192, "disk_mb": 16384, "pids": 2048, **_RATES},
}

PLANS: dict[str, dict[str, Any]] = {
    "free": {
        "networks": ["off", "restricted"],
        "max_concurrent": 1,
        "max_snapshots": 1,
        "max_named_snapshots": 1,
        "max_volumes": 3,
        "max_volume_mb": 10 * 1024,
        "paused_days": 7,
        "max_timeout_seconds": 3600,
        "max_running_lifetime_seconds": 4 * 3600,
        "previews": False,
        "trial_credit_eur": 5,
        "stops_at_credit": True,
    },
    "payg": {
        "networks": ["off", "restricted", "open"],
        "max_concurrent": 20,
        "max_snapshots": 10,
        "max_named_snapshots": 10,
        "max_volumes": 50,
        "max_volume_mb": 100 * 1024,
        "paused_days": 30,
        "pauses_beyond_cap": True,
        "max_timeout_seconds": 3600,
        "custom_egress_allowlist": True,
        "trial_credit_eur": 25,
    },
    "enterprise": {
        "networks": ["off", "restricted", "open"],
        "max_concurrent": 250,
        "max_snapshots": 50,
        "max_named_snapshots": 50,
        "max_volumes": 500,
        "max_volume_mb": 1024 * 1024,
        "pauses_beyond_cap": True,
        "max_timeout_seconds": 3600,
        "custom_egress_allowlist": True,
        "trial_credit_eur": 25,
    },
}

SMALL_ONLY = {"free"}


@transaction.atomic
def catalogue_install() -> None:
    """Add the plans and sizes that are missing. What is there stays as it was edited."""
    for name, values in SIZES.items():
        Size.objects.get_or_create(name=name, defaults=values)
    for name, values in PLANS.items():
        plan, made = Plan.objects.get_or_create(name=name, defaults=values)
        if made:
            names = ["small"] if name in SMALL_ONLY else list(SIZES)
            plan.sizes.set(Size.objects.filter(name__in=names))
