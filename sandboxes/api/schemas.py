"""The bodies that the API takes and gives. What is given is also the OpenAPI page's word."""

from __future__ import annotations

from decimal import Decimal
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from sandboxes.limits import BUDGET_KEY, TIMEOUT_DEFAULT, TIMEOUT_MAX, TIMEOUT_MIN

COMMAND_TIMEOUT_MAX = 3600
SEQ_MAX = 2**63 - 1
SECONDS_MAX = 2**53

StatusName = Literal["starting", "running", "pausing", "paused", "resuming", "terminated", "failed"]

Lifetime = Annotated[
    int,
    Field(ge=TIMEOUT_MIN, le=TIMEOUT_MAX, description="Seconds until the sandbox ends by itself."),
]


class Body(BaseModel):
    """A request's body: no guessing of types, and a misspelt field is an error."""

    model_config = ConfigDict(strict=True, extra="forbid")


class SandboxIn(Body):
    """A sandbox to make."""

    template: str | None = Field(None, description="`python-3.12`, `code-interpreter`, `node-22`…")
    snapshot: str | None = Field(None, description="Instead of a template: fork a snapshot.")
    size: str | None = Field(None, description="`small`, `medium` or `large`.")
    cpu: float | None = Field(None, gt=0, description="Older way to say a size.")
    memory_mb: int | None = Field(None, gt=0, description="Older way to say a size.")
    network: Literal["off", "restricted", "open"] = Field(
        "off",
        description="`off`: none. `restricted`: an allowlist of domains, over HTTPS by a proxy. "
        "`open`: the internet, without private addresses.",
    )
    isolation: Literal["runc", "gvisor"] | None = Field(
        None,
        description="`runc`: namespaces and a filter before the machine's kernel. `gvisor`: a "
        "kernel of its own. Left out, the plan or the installation decides.",
    )
    timeout_seconds: Lifetime = TIMEOUT_DEFAULT
    on_timeout: Literal["kill", "pause"] = "kill"
    auto_resume: bool = False
    preview_auth: bool = False
    env: dict[str, str] = Field(default_factory=dict, description="For every command in it.")
    metadata: dict[str, str] = Field(default_factory=dict, description="To find it by.")
    region: str | None = None
    allow_domains: list[str] | None = Field(
        None,
        description="Instead of the default allowlist, subdomains included; `restricted` only.",
    )
    volume: str | None = Field(
        None,
        description="What is to be at `/persist`: the name of a volume, made when it is new, "
        "or its id.",
    )
    budget_eur: Decimal | None = Field(
        None,
        gt=0,
        max_digits=12,
        decimal_places=4,
        description="What the run may cost; beyond it the sandbox is paused. A client without "
        f"this field says it in `metadata`, as `{BUDGET_KEY}`.",
    )


class TimeoutIn(Body):
    """A new lifetime, counted from now."""

    timeout_seconds: Lifetime


class ExecIn(Body):
    """A command for the sandbox's shell."""

    command: str = Field(description="At most 100 KiB.")
    cwd: str = "/workspace"
    env: dict[str, str] = Field(default_factory=dict, description="Over the sandbox's own.")
    timeout_seconds: int = Field(60, ge=1, le=COMMAND_TIMEOUT_MAX)
    stream: bool = Field(False, description="Answer with server-sent events as output is written.")


class FileIn(Body):
    """One file to write."""

    path: str = Field(description="Absolute; under /workspace, /tmp or /persist.")
    content: str = Field(description="base64; at most 16 MiB of file.")
    mode: int = Field(0o644, ge=0, le=0o7777)


class BatchIn(Body):
    """Files to write in one request; one that cannot be written does not stop the others."""

    files: list[FileIn] = Field(min_length=1, max_length=64)


class DirectoryIn(Body):
    """A directory to make."""

    path: str
    parents: bool = True


class MoveIn(Body):
    """What to move, and where to."""

    source: str
    destination: str


class ListQuery(BaseModel):
    """Which sandboxes to list. ``metadata[key]=value`` goes beside these."""

    status: StatusName | None = None
    limit: int = Field(50, ge=1, le=200)
    cursor: str | None = Field(None, max_length=100)


class MetricsQuery(BaseModel):
    """Which samples."""

    since: int = Field(0, ge=0, le=SECONDS_MAX, description="Only later ones, in Unix seconds.")


class PathQuery(BaseModel):
    """Which path."""

    path: str = Field(description="Absolute.")


class EventsQuery(BaseModel):
    """Which events."""

    after: int = Field(0, ge=0, le=SEQ_MAX, description="The last `seq` you have.")
    kind: list[str] = Field(
        default_factory=list, max_length=64, description="May be given several times."
    )
    limit: int = Field(200, ge=1, le=1000)


class SandboxOut(BaseModel):
    """A sandbox."""

    id: str
    status: StatusName
    template: str
    network: Literal["off", "restricted", "open"]
    isolation: Literal["runc", "gvisor"]
    allow_domains: list[str] | None
    size: str
    cpu: float
    memory_mb: int
    region: str
    created_at: str
    expires_at: str
    on_timeout: Literal["kill", "pause"]
    auto_resume: bool
    preview_auth: bool
    preview_auth_token: str | None
    paused_expires_at: str | None
    node_id: str
    metadata: dict[str, str]
    volume: str | None
    budget_eur: float | None
    preview_host_base: str | None


class PageOut(BaseModel):
    """Sandboxes, newest first. Send ``next_cursor`` back as ``cursor`` for the next page."""

    sandboxes: list[SandboxOut]
    total: int
    next_cursor: str | None


class SizeOut(BaseModel):
    """One size of the menu."""

    size: str
    cpu: float
    memory_mb: int
    allowed: bool


class RegionOut(BaseModel):
    """Where sandboxes can run."""

    id: str
    label: str


class LimitsOut(BaseModel):
    """What the account's plan covers."""

    plan: str
    allowed_sizes: list[str]
    sizes: list[SizeOut]
    regions: list[RegionOut]
    max_concurrent: int
    max_snapshots: int
    max_named_snapshots: int
    max_volumes: int
    max_volume_mb: int
    max_timeout_seconds: int
    custom_egress_allowlist: bool
    default_egress_domains: list[str]
    trial_credit_eur: float
    trial_credit_used_eur: float
    max_running_lifetime_seconds: int | None


class CpuOut(BaseModel):
    """``usage_percent`` is of all ``cores``. Null when the sandbox does not run."""

    cores: float
    usage_cores: float | None
    usage_percent: float | None


class MemoryOut(BaseModel):
    """The working set: what the kernel could not just drop. Null when the sandbox does not run."""

    limit_bytes: int
    usage_bytes: int | None
    usage_percent: float | None


class LifetimeOut(BaseModel):
    """What a sandbox has used in all. A GB is 2**30 bytes of working set."""

    cpu_seconds: float
    gb_seconds: float


class SampleOut(BaseModel):
    """One second of the window."""

    t: str
    cpu_percent: float
    mem_bytes: int


class MetricsOut(BaseModel):
    """Live usage; ``samples`` is the window, oldest first."""

    sandbox_id: str
    sandbox_status: StatusName
    as_of: str
    as_of_unix: int
    sample_interval_seconds: int
    window_seconds: int
    cpu: CpuOut
    memory: MemoryOut
    lifetime: LifetimeOut
    samples: list[SampleOut]


class ExecOut(BaseModel):
    """A command that is over. ``…_dropped`` count bytes beyond 16 MiB of a stream."""

    stdout: str
    stderr: str
    exit_code: int
    duration_ms: int
    stdout_dropped: int | None = None
    stderr_dropped: int | None = None


class WrittenOut(BaseModel):
    """A file that was written."""

    path: str
    bytes_written: int


class BatchError(BaseModel):
    """Why one file of a batch was not written."""

    code: str
    message: str


class BatchRow(BaseModel):
    """One file of a batch."""

    path: str
    bytes_written: int | None
    error: BatchError | None = None


class BatchOut(BaseModel):
    """A row for each file, in the order that they were sent."""

    results: list[BatchRow]


class EntryOut(BaseModel):
    """One name in a directory."""

    name: str
    is_dir: bool
    size: int
    mode: int
    modified_at: str


class FileOut(BaseModel):
    """A file (``content`` in base64) or a directory (``entries``)."""

    path: str
    is_dir: bool
    content: str | None = None
    size: int | None = None
    mode: int | None = None
    modified_at: str | None = None
    entries: list[EntryOut] | None = None
    truncated: bool | None = None


class PathOut(BaseModel):
    """The directory that is there now."""

    path: str


class MoveOut(BaseModel):
    """What was moved."""

    source: str
    destination: str


class StatOut(BaseModel):
    """What a path is."""

    path: str
    exists: bool
    is_dir: bool
    size: int
    mode: int | None
    modified_at: str | None


class EventOut(BaseModel):
    """One event of the timeline. ``at`` is in microseconds since 1970, UTC."""

    sandbox_id: str
    seq: int
    at: int
    kind: str
    actor: dict[str, str]
    span: str | None
    data: dict[str, Any]


class EventsOut(BaseModel):
    """Events in order; ``last_seq`` is the ``after`` of the next page."""

    events: list[EventOut]
    last_seq: int


class ErrorOut(BaseModel):
    """What went wrong, and what to do."""

    detail: str
    code: str | None = None
    reason: str | None = None
