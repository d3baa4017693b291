"""Which signals stand, of one run or of an account's."""

from __future__ import annotations

from collections import defaultdict

from sandboxes.signals.models import Signal


def signals_of(*, sandbox_id: str) -> list[Signal]:
    """What stands and was not dismissed, the newest first."""
    rows = Signal.objects.filter(sandbox_id=sandbox_id, resolved_at=None, dismissed_at=None)
    return list(rows.order_by("-id")[:20])


def signals_of_account(*, account_id: str) -> dict[str, list[Signal]]:
    """The same for every run of an account, by its sandbox's id: what needs attention."""
    rows = Signal.objects.filter(account_id=account_id, resolved_at=None, dismissed_at=None)
    found: dict[str, list[Signal]] = defaultdict(list)
    for signal in rows.order_by("-id")[:2000]:
        found[signal.sandbox_id].append(signal)
    return found
