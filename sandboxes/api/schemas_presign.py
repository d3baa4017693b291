"""The bodies that the routes for links to files take and give."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from sandboxes.api.schemas import Body
from sandboxes.presign import EXPIRES_MAX, EXPIRES_MIN


class PresignIn(Body):
    """Which file, and how long the link is to be good."""

    path: str = Field(description="Absolute.")
    expires_in: int = Field(600, ge=EXPIRES_MIN, le=EXPIRES_MAX, description="Seconds.")


class PresignOut(BaseModel):
    """A link. It needs no token, and may be used any number of times until it expires."""

    url: str
    method: Literal["GET", "PUT"]
    path: str
    expires_at: str
