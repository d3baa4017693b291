"""A pause as it is noted on disk and told on the timeline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from timeline.events import Actor, Kind, NewEvent


@dataclass(frozen=True, slots=True)
class Paused:
    """Since when (µs since the epoch), why (requested, timeout) and for whom, and what it keeps.

    ``size_mb`` counts the memory and the files that are kept. ``is_saved`` says whether all of it
    is on disk, to outlive the machine's restart; ``unsaved`` why it is not, as a sentence.
    """

    snapshot_id: str
    size_mb: int
    at: int
    reason: str
    actor: Actor
    is_saved: bool = False
    unsaved: str = ""

    def event(self) -> NewEvent:
        data: dict[str, Any] = {
            "reason": self.reason,
            "snapshot_id": self.snapshot_id,
            "snapshot_size_mb": self.size_mb,
            "survives_machine_restart": self.is_saved,
        }
        if self.unsaved:
            data["why_not"] = self.unsaved
        return NewEvent(Kind.SANDBOX_PAUSED, data, actor=self.actor, at=self.at)

    @classmethod
    def of(cls, event: NewEvent) -> Paused:
        """The reverse of ``event``."""
        data = event.data
        size_mb = int(data["snapshot_size_mb"])
        saved, unsaved = bool(data.get("survives_machine_restart")), data.get("why_not", "")
        reason = data["reason"]
        return cls(data["snapshot_id"], size_mb, event.at, reason, event.actor, saved, unsaved)

    @classmethod
    def from_json(cls, row: Mapping[str, Any] | None) -> Paused | None:
        """As ``dataclasses.asdict`` wrote it. Raises ``KeyError`` and ``TypeError``."""
        return cls(**{**row, "actor": Actor.from_json(row["actor"])}) if row else None
