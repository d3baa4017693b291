"""What of a running sandbox needs a person, and how much: the order of the fleet wall."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sandboxes.models import Sandbox
from sandboxes.signals.models import Rule, Signal

STREAK: Final = 3
_STUCK: Final = (Rule.REPEATED, Rule.LOOP, Rule.FAILING)
EXPIRING: Final = timedelta(minutes=2)
_BAD, _WARNING, _CALM = 3, 2, 1


@dataclass(frozen=True, slots=True)
class Reason:
    """``tone`` is ``bad``, ``warning`` or ``info``; ``seq`` is an event it stands on, if any."""

    tone: str
    label: str
    text: str
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class Attention:
    """``rank`` is 0 for a sandbox that nobody need look at; higher ones come first."""

    rank: int
    reasons: tuple[Reason, ...]

    @property
    def tone(self) -> str:
        """Of the gravest reason."""
        return self.reasons[0].tone if self.reasons else ""


def attention_of(
    sandbox: Sandbox, *, signals: Sequence[Signal], streak: int, now: datetime
) -> Attention:
    """Failing first, then what repeats, waits, is denied or about to end, then what is held."""
    is_failing = streak >= STREAK
    found = [_of_signal(signal, is_failing=is_failing) for signal in signals]
    if is_failing and not any(signal.rule in _STUCK for signal in signals):
        text = f"The last {streak} commands failed."
        found.append((_BAD, Reason("bad", "Failing streak", text)))
    found += _of_time(sandbox, now)
    if sandbox.holder is not None:
        name = sandbox.holder.name or "Somebody"
        found.append((_CALM, Reason("info", "Held", f"{name} holds it.")))
    found.sort(key=lambda one: -one[0])
    rank = found[0][0] if found else 0
    return Attention(rank, tuple(reason for _, reason in found))


def _of_signal(signal: Signal, *, is_failing: bool) -> tuple[int, Reason]:
    """What repeats is a warning by itself, and grave where it is failures that repeat."""
    is_bad = signal.rule == Rule.FAILING or (is_failing and signal.rule in _STUCK)
    seq = signal.evidence[-1] if signal.evidence else None
    reason = Reason("bad" if is_bad else "warning", Rule(signal.rule).label, signal.text, seq)
    return (_BAD if is_bad else _WARNING), reason


def _of_time(sandbox: Sandbox, now: datetime) -> list[tuple[int, Reason]]:
    if not sandbox.live or sandbox.on_timeout != "kill" or sandbox.expires_at - now > EXPIRING:
        return []
    return [(_WARNING, Reason("warning", "Ends soon", "It is terminated when its time is up."))]
