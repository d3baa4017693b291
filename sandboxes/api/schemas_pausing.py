"""What the API gives of a pause."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class PausedOut(BaseModel):
    """A paused sandbox. ``snapshot_size_mb`` counts the memory and the files that are kept.

    ``survives_machine_restart`` is false where memory is kept by the running machine alone;
    ``why_not`` then says why.
    """

    sandbox_id: str
    snapshot_id: str
    status: Literal["paused"]
    snapshot_size_mb: int
    keeps: list[Literal["files", "memory", "processes"]]
    survives_machine_restart: bool
    why_not: str | None
    created_at: str
