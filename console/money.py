"""How the console writes euros."""

from __future__ import annotations

from decimal import Decimal
from typing import Final

_CENT: Final = Decimal("0.01")
_LEAST: Final = Decimal("0.000001")


def cents(amount: Decimal) -> str:
    """In as much room as a column has: €12.40, or < €0.01."""
    return f"< €{_CENT}" if 0 < amount < _CENT else euros(amount)


def euros(amount: Decimal) -> str:
    """€12.40; of less than a cent as many digits as say something: €0.0031."""
    if not amount or abs(amount) >= _CENT:
        return f"€{amount:,.2f}"
    return f"€{amount:.6f}".rstrip("0").rstrip(".") if abs(amount) >= _LEAST else "€0"
