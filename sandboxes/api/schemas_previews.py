"""Shapes of previews."""

from __future__ import annotations

from pydantic import BaseModel, Field


class PortQuery(BaseModel):
    """A port of the sandbox."""

    port: int = Field(description="What a process in the sandbox listens on.")


class HostOut(BaseModel):
    """Where that port is seen from outside."""

    port: int
    host: str
    url: str
