"""What tools take and give, where ``sandboxes/api/schemas.py`` does not say it already."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, Field

from sandboxes.api.schemas import COMMAND_TIMEOUT_MAX, Body, EntryOut, StatusName

#: Agents read results whole, and common clients take 1 MiB of one message at most.
READ_BYTES = 256 * 1024


class NoArguments(Body):
    """Nothing to say."""


class SandboxArguments(Body):
    """Which sandbox."""

    sandbox_id: str = Field(description="`sbx_…`, as create_sandbox and list_sandboxes give it.")


class ListArguments(Body):
    """Which sandboxes to list."""

    status: StatusName | None = None
    metadata: dict[str, str] = Field(
        default_factory=dict, description="Only those that match in every key."
    )
    limit: int = Field(50, ge=1, le=200)
    cursor: str | None = Field(None, max_length=100, description="`next_cursor` of the page before")


class ExecArguments(SandboxArguments):
    """A command for the sandbox's shell."""

    command: str = Field(description="For the sandbox's shell; at most 100 KiB.")
    cwd: str = "/workspace"
    env: dict[str, str] = Field(default_factory=dict, description="Over the sandbox's own.")
    timeout_seconds: int = Field(
        60,
        ge=1,
        le=COMMAND_TIMEOUT_MAX,
        description="Then the command is stopped; the sandbox lives on.",
    )


class PathArguments(SandboxArguments):
    """Which file."""

    path: str = Field(description="Absolute.")


class FolderArguments(SandboxArguments):
    """Which directory."""

    path: str = Field("/workspace", description="Absolute.")


class WriteArguments(PathArguments):
    """One file to write."""

    path: str = Field(description="Absolute; under /workspace, /tmp or /persist.")
    content: str = Field(description="The whole file, at most 16 MiB; replaces what is there.")
    encoding: Literal["text", "base64"] = Field("text", description="Of `content`.")
    mode: int = Field(0o644, ge=0, le=0o7777)


class ReadResult(BaseModel):
    """A file, or its beginning when ``truncated``; ``content`` is base64 where it is no UTF-8."""

    path: str
    content: str
    encoding: Literal["text", "base64"]
    size: int
    mode: int
    modified_at: str
    truncated: bool


class FolderResult(BaseModel):
    """A directory's entries; ``truncated`` when there are more than a listing holds."""

    path: str
    entries: list[EntryOut]
    truncated: bool


class ExecResult(BaseModel):
    """A command that is over. ``…_dropped`` count the bytes left out of the middle of a stream."""

    stdout: str
    stderr: str
    exit_code: int
    duration_ms: int
    stdout_dropped: int
    stderr_dropped: int


class EndedResult(BaseModel):
    """The sandbox is gone, with its files and processes."""

    sandbox_id: str
    status: Literal["terminated", "failed"]
