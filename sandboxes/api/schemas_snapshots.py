"""What the API takes and gives of snapshots."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from sandboxes.api.schemas import Body


class SnapshotIn(Body):
    """A snapshot to take."""

    name: str = Field("", description="To recognise it by; at most 100 characters.")


class SnapshotOut(BaseModel):
    """A snapshot of a sandbox: its files, and its processes and memory if ``includes_memory``.

    ``why_no_memory`` says why they are not in it: perhaps none ran.
    """

    id: str
    name: str | None
    status: Literal["capturing", "ready", "failed"]
    template: str
    cpu: float
    memory_mb: int
    network: Literal["off", "restricted", "open"]
    source_sandbox_id: str | None
    size_mb: int | None
    node_id: str | None
    region: str | None
    error_message: str | None
    created_at: str
    ready_at: str | None
    includes_memory: bool
    why_no_memory: str | None


class SnapshotsOut(BaseModel):
    """Snapshots, newest first."""

    snapshots: list[SnapshotOut]
