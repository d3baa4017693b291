"""What a volume may be called, how large it may be and how long it may live."""

from __future__ import annotations

import re
from typing import Final

from accounts.models import Plan
from sandboxes.errors import InvalidRequest, PlanLimit
from sandboxes.limits import REGION

VOLUME_ID: Final = re.compile(r"vol_[0-9A-HJKMNP-TV-Z]{26}")
NAME: Final = re.compile(r"(?!vol_)[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
SIZE_GB: Final = 10.0
SIZE_GB_MIN: Final = 0.25
DAYS_MAX: Final = 3650
HOURS_MAX: Final = 24
_MB: Final = 1024


def check_name(name: str) -> None:
    """Raise ``InvalidRequest`` for what cannot be told from an id, or not be typed."""
    if not NAME.fullmatch(name):
        raise InvalidRequest(
            "A volume's name has 1 to 64 letters, digits, dots, dashes and underscores, begins "
            "with a letter or digit and not with vol_, as ids do."
        )


def check_region(region: str | None) -> None:
    """Raise ``InvalidRequest`` for a region that there is not."""
    if region not in (None, REGION):
        raise InvalidRequest(f"There is no such region here; use {REGION!r}.")


def check_lifetime(*, days: int | None, hours: int | None) -> None:
    """Raise ``InvalidRequest`` unless it is one of the two or neither, and within bounds."""
    if days is not None and hours is not None:
        raise InvalidRequest("Give max_lifetime_days or max_lifetime_hours, not both.")
    if days is not None and not 1 <= days <= DAYS_MAX:
        raise InvalidRequest(f"max_lifetime_days must be between 1 and {DAYS_MAX}.")
    if hours is not None and not 1 <= hours <= HOURS_MAX:
        raise InvalidRequest(f"max_lifetime_hours must be between 1 and {HOURS_MAX}.")


def size_mb(size_gb: float, *, plan: Plan) -> int:
    """The ceiling to make. Raises ``InvalidRequest`` and ``PlanLimit``."""
    if size_gb < SIZE_GB_MIN:
        raise InvalidRequest(f"size_gb must be at least {SIZE_GB_MIN:g}.")
    if size_gb * _MB > plan.max_volume_mb:
        raise PlanLimit(
            f"The {plan.name} plan covers volumes of at most {plan.max_volume_mb / _MB:g} GB; "
            "make a smaller one, or change the plan.",
            reason="volume_size",
        )
    return round(size_gb * _MB)


def default_size_mb(plan: Plan) -> int:
    """Of a volume that a sandbox names first."""
    return min(round(SIZE_GB * _MB), plan.max_volume_mb)


def check_count(*, plan: Plan, kept: int) -> None:
    """Raise ``PlanLimit`` unless one more may be kept beside ``kept`` others."""
    if kept >= plan.max_volumes:
        raise PlanLimit(
            f"The {plan.name} plan keeps at most {plan.max_volumes} volumes; delete one, or change "
            "the plan.",
            reason="volumes",
        )
