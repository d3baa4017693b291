"""The bodies that the routes of the interpreter take and give."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from sandboxes.api.schemas import COMMAND_TIMEOUT_MAX, Body


class CodeIn(Body):
    """A cell of code for a context, whose variables it finds and leaves behind."""

    code: str = Field(description="At most 1 MiB.")
    language: str = Field("python", description="`python`.")
    context_id: str | None = Field(None, description="The default context when left out.")
    timeout_seconds: int = Field(60, ge=1, le=COMMAND_TIMEOUT_MAX)
    stream: bool = Field(False, description="Answer with server-sent events as output comes.")


class CodeResultOut(BaseModel):
    """One rich output; ``type`` names the richest of its representations."""

    type: Literal["text", "html", "image_png", "json", "chart"]
    text: str | None
    html: str | None
    png: str | None = Field(description="Base64.")
    json_: Any = Field(None, alias="json")
    chart: None = None


class CodeErrorOut(BaseModel):
    """What the code raised. `KernelDied` and `KernelRestarted`: the variables are lost."""

    name: str
    value: str
    traceback: list[str]


class CodeOut(BaseModel):
    """A cell that is over."""

    results: list[CodeResultOut]
    stdout: str
    stderr: str
    error: CodeErrorOut | None
    execution_count: int | None
    context_id: str
    duration_ms: int
    interrupted: bool = Field(description="Its time was over; variables survive.")
    restarted: bool = Field(description="The kernel is a new one; earlier variables are lost.")
    truncated: list[str] = Field(description="Which outputs were cut.")


class ContextIn(Body):
    """A new context."""

    cwd: str = "/workspace"


class ContextOut(BaseModel):
    """An interpreter with variables of its own. Not ``alive``: the next cell starts it anew."""

    context_id: str
    language: str
    cwd: str
    created_at: str
    last_used_at: str | None
    executions: int
    alive: bool


class ContextsOut(BaseModel):
    """In the order in which they were made; at most 8."""

    contexts: list[ContextOut]
    total: int
