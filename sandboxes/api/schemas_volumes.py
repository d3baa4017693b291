"""What the API takes and gives of volumes."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from sandboxes.api.schemas import Body
from sandboxes.volume_limits import SIZE_GB

_DAYS = "Days after its creation when it is deleted by itself, 1 to 3650; null for never."
_HOURS = "The same in hours, 1 to 24."


class VolumeIn(Body):
    """A volume to make."""

    name: str = Field(description="What `create` names as its `volume`; one of a kind.")
    size_gb: float = Field(SIZE_GB, description="Its ceiling, from 0.25; nothing is reserved.")
    region: str | None = Field(None, description="Left out: that of the first sandbox with it.")
    max_lifetime_days: int | None = Field(None, description=_DAYS)
    max_lifetime_hours: int | None = Field(None, description=_HOURS)


class VolumeUpdateIn(Body):
    """Another lifetime: one of the two."""

    max_lifetime_days: int | None = Field(None, description=_DAYS)
    max_lifetime_hours: int | None = Field(None, description=_HOURS)


class VolumeMoveIn(Body):
    """Where to."""

    region: str


class VolumeOut(BaseModel):
    """A volume. ``node_id`` is null until a sandbox has had it."""

    id: str
    name: str
    size_mb: int
    status: Literal["ready"]
    region: str | None
    node_id: str | None
    attached_sandbox_id: str | None
    max_lifetime_days: int | None
    max_lifetime_hours: int | None
    expires_at: str | None
    created_at: str


class VolumesOut(BaseModel):
    """Volumes, newest first."""

    volumes: list[VolumeOut]
    total: int
