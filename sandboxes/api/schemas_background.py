"""The bodies that the routes of background commands take and give."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from sandboxes.api.schemas import Body

FOLLOW_MAX = 3600


class CommandIn(Body):
    """A command to start in the background."""

    command: str = Field(description="At most 100 KiB.")
    cwd: str = "/workspace"
    env: dict[str, str] = Field(default_factory=dict, description="Over the sandbox's own.")


class CommandOut(BaseModel):
    """A background command. ``killed``: it stopped without an exit code of its own."""

    id: str
    command: str = Field(description="At most its first 4096 characters.")
    pid: int | None
    status: Literal["running", "exited", "killed"]
    exit_code: int | None
    started_at: str


class CommandsOut(BaseModel):
    """In the order in which they were started; at most 512, the oldest that are over go first."""

    commands: list[CommandOut]
    total: int


class LogQuery(BaseModel):
    """Which part of the output, and whether to wait for more."""

    offset: int = Field(0, ge=0, lt=2**62, description="In bytes.")
    follow: bool = False
    timeout_seconds: int = Field(300, ge=1, le=FOLLOW_MAX, description="How long to follow.")


class LogOut(BaseModel):
    """Output of both streams together, up to 1 MiB.

    The next part begins at ``offset`` plus the bytes of ``content`` in UTF-8: a byte that is none
    is one question mark. ``truncated`` when there is more already.
    """

    content: str
    size: int = Field(description="Bytes of output so far.")
    truncated: bool
