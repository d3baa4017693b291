"""What lies ahead of an account's credit and of its month, at the rate at which it spends."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Final

from sandboxes.usage.report import Running, month_after

_HOURS: Final = Decimal(24)
_FAR: Final = timedelta(days=3650)


@dataclass(frozen=True, slots=True)
class Outlook:
    """``per_hour`` is what runs now adds; ``basis`` what a forecast stands on.

    That is ``running`` or, when nothing runs, the last ``week``; ``nothing`` without either.
    """

    per_hour: Decimal
    per_day: Decimal
    basis: str
    at: datetime

    @property
    def forecast_per_hour(self) -> Decimal:
        """The present rate, or else the week's."""
        return self.per_hour if self.basis == "running" else self.per_day / _HOURS

    def reaches(self, left_eur: Decimal) -> datetime | None:
        """When ``left_eur`` more has been spent; None when that is not in sight."""
        if left_eur <= 0:
            return self.at
        if not self.forecast_per_hour:
            return None
        hours = left_eur / self.forecast_per_hour
        return self.at + timedelta(hours=float(hours)) if hours < _FAR.days * 24 else None

    def month_end(self, so_far: Decimal) -> Decimal:
        """What the month will have cost: the rest of it at the present rate."""
        first = month_after(self.at.astimezone(UTC).date())
        end = datetime(first.year, first.month, 1, tzinfo=UTC)
        hours = Decimal((end - self.at).total_seconds()) / 3600
        return so_far + self.forecast_per_hour * hours


def outlook(*, running: Sequence[Running], per_day: Decimal, now: datetime) -> Outlook:
    """From what runs and what a day has cost of late."""
    per_hour = sum((one.per_hour for one in running), Decimal(0))
    basis = "running" if per_hour else "week" if per_day else "nothing"
    return Outlook(per_hour, per_day, basis, now)
