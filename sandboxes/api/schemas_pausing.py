"""What the API gives of a pause."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel


class PausedOut(BaseModel):
    """A paused sandbox. ``snapshot_size_mb`` counts the memory and the files that are kept."""

    sandbox_id: str
    snapshot_id: str
    status: Literal["paused"]
    snapshot_size_mb: int
    created_at: str
