"""What an account may ask for and what it hides, read in one query while its row is locked."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

from django.db import connection

from accounts.models import Account, Plan, Size
from accounts.rows import columns_of, model_of
from sandboxes.models import MaskingPattern


@dataclass(frozen=True, slots=True)
class Offer:
    """An account's plan, the size menu (smallest first), and the sizes that the plan covers.

    ``masking`` has the expressions of its own masking patterns, ``domains`` what its restricted
    sandboxes may reach by default; null for the installation's list.
    """

    plan: Plan
    menu: list[Size]
    allowed: set[str]
    masking: tuple[str, ...] = ()
    domains: list[str] | None = None


def offer_locked(account_id: str) -> Offer:
    """Locks the account until the transaction ends. Raises ``Account.DoesNotExist``.

    Creates of one account wait for each other here, so it is one round trip and no more.
    """
    with connection.cursor() as cursor:
        cursor.execute(_locking_query(), [account_id])
        rows = cursor.fetchall()
    if not rows:
        raise Account.DoesNotExist
    width = len(columns_of(Plan))
    menu = [model_of(Size, row[width:-3]) for row in rows]
    allowed = {size.name for size, row in zip(menu, rows, strict=True) if row[-3]}
    plan = model_of(Plan, rows[0][:width])
    masking, domains = rows[0][-2:]
    own = domains if plan.custom_egress_allowlist else None
    return Offer(plan, menu, allowed, tuple(masking), own)


@cache
def _locking_query() -> str:
    """A row for each size: columns of the plan and the size, whether it is covered, masking and
    default domains."""
    columns = [f"p.{name}" for name in columns_of(Plan)]
    columns += [f"s.{name}" for name in columns_of(Size)]
    return f"""
        SELECT {", ".join(columns)}, EXISTS (
            SELECT FROM {Plan.sizes.through._meta.db_table} c
            WHERE c.plan_id = p.name AND c.size_id = s.name
        ), ARRAY (
            SELECT expression FROM {MaskingPattern._meta.db_table} m
            WHERE m.account_id = a.id ORDER BY m.id
        ), a.default_domains
        FROM {Account._meta.db_table} a
        JOIN {Plan._meta.db_table} p ON p.name = a.plan_id
        CROSS JOIN {Size._meta.db_table} s
        WHERE a.id = %s
        ORDER BY {", ".join(f"s.{name}" for name in Size._meta.ordering or ())}
        FOR NO KEY UPDATE OF a
    """  # noqa: S608 - names of tables and columns, none from outside
