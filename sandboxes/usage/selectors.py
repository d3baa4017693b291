"""Everything that reads usage."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal

from django.db.models import Sum

from sandboxes.host.totals import KIB_MS_PER_GB_SECOND
from sandboxes.usage.models import Meter, Spending, Usage


@dataclass(frozen=True, slots=True)
class Lifetime:
    """What a sandbox has used in all. A GB is 2**30 bytes."""

    cpu_us: int
    memory_kib_ms: int

    @property
    def cpu_seconds(self) -> float:
        return self.cpu_us / 1e6

    @property
    def gb_seconds(self) -> float:
        return self.memory_kib_ms / KIB_MS_PER_GB_SECOND


def lifetime_of(sandbox_id: str) -> Lifetime:
    """As far as it has been counted."""
    rows = Usage.objects.filter(sandbox_id=sandbox_id)
    sums = rows.aggregate(cpu=Sum("cpu_us"), memory=Sum("memory_kib_ms"))
    return Lifetime(int(sums["cpu"] or 0), int(sums["memory"] or 0))


def is_settled(sandbox_id: str) -> bool:
    """Whether its last totals have been counted."""
    return Meter.objects.filter(sandbox_id=sandbox_id, ended=True).exists()


def spent_eur(account_id: str) -> Decimal:
    """All that an account's usage has cost so far."""
    spending = Spending.objects.filter(account_id=account_id).first()
    return spending.eur if spending else Decimal(0)
