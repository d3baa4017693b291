"""Everything that reads usage."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Final

from django.db import connection
from django.db.models import Sum

from sandboxes.host.totals import KIB_MS_PER_GB_SECOND
from sandboxes.usage.models import Meter, Spending, Usage

# What was counted last is of this month, or is none of it.
SPENT_COLUMNS: Final = """
    coalesce(us.eur, 0),
    CASE WHEN us.month = date_trunc('month', now() AT TIME ZONE 'UTC')::date
         THEN us.month_eur ELSE 0 END,
    uc.monthly_eur
"""
"""The fields of ``Spent``, for a query that has ``SPENT_JOINS`` to an account ``a``."""

SPENT_JOINS: Final = """
    LEFT JOIN usage_spending us ON us.account_id = a.id
    LEFT JOIN usage_cap uc ON uc.account_id = a.id
"""
_SPENT: Final = f"SELECT {SPENT_COLUMNS} FROM accounts_account a {SPENT_JOINS} WHERE a.id = %s"  # noqa: S608


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


@dataclass(frozen=True, slots=True)
class Spent:
    """EUR that an account spent in all and this month (UTC), and its own cap on that, if any."""

    eur: Decimal
    month_eur: Decimal = Decimal(0)
    cap_eur: Decimal | None = None


def spending_of(account_id: str) -> Spent:
    """What an account may still spend is judged by it."""
    with connection.cursor() as cursor:
        cursor.execute(_SPENT, [account_id])
        row = cursor.fetchone()
    return Spent(*row) if row else Spent(Decimal(0))


def run_eur(sandbox_id: str) -> Decimal:
    """What one sandbox has cost so far."""
    rows = Usage.objects.filter(sandbox_id=sandbox_id)
    return rows.aggregate(eur=Sum("eur"))["eur"] or Decimal(0)
