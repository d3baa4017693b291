"""What the host and its callers hand each other. Imports neither Django nor the host itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol

from sandboxes.host.agent.ties import Ties
from timeline.events import NewEvent

Stream = Literal["stdout", "stderr"]

#: Most bytes of one stream that a buffered command keeps for its caller.
BUFFERED_LIMIT = 16 * 1024 * 1024
#: Most bytes of a file that travels through JSON; larger ones go through a presigned URL.
FILE_LIMIT = 16 * 1024 * 1024
#: Bytes of the longest path that is passed on (Linux's PATH_MAX holds the closing NUL too).
PATH_LIMIT = 4095
#: Where a caller may write. Everything else in a sandbox belongs to its template.
WRITABLE = ("/workspace", "/tmp", "/persist")  # noqa: S108 - paths inside the sandbox


class HostError(Exception):
    """Why the host did not do it.

    ``code`` is one of not_found, not_running, paused, not_paused, snapshot_gone,
    template_unavailable, isolation_unavailable, host_full, host_unreachable, not_permitted,
    no_such_file, no_such_command, no_such_terminal, no_such_context, context_limit,
    interpreter_unavailable, kernel_failed, is_directory, not_a_directory, not_a_file,
    file_exists, file_changed, too_large, no_space, name_too_long, pids_exhausted, busy,
    agent_lost, network_unavailable, invalid, internal.
    ``message`` is one sentence that says what to do; ``extra`` is JSON.
    """

    def __init__(
        self, code: str, message: str, *, extra: Mapping[str, object] | None = None
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.extra: dict[str, object] = dict(extra or {})


@dataclass(frozen=True, slots=True)
class ExecRequest:
    """A command for the sandbox's shell.

    ``env`` goes over the sandbox's own. ``timeout_seconds`` 0 means none, which only a background
    command has. ``command_id`` (``cmd_<ULID>``) is the span of all its events.
    """

    command_id: str
    command: str
    cwd: str = "/workspace"
    env: Mapping[str, str] = field(default_factory=dict)
    timeout_seconds: float = 60
    background: bool = False


@dataclass(frozen=True, slots=True)
class ExecOutcome:
    """A buffered command that is over. Exactly one of ``exit_code`` and ``signal`` is set.

    ``stdout_dropped`` and ``stderr_dropped`` count the bytes beyond ``BUFFERED_LIMIT``.
    """

    stdout: bytes | bytearray
    stderr: bytes | bytearray
    stdout_dropped: int
    stderr_dropped: int
    exit_code: int | None
    signal: int | None
    duration_ms: int
    timed_out: bool


@dataclass(frozen=True, slots=True)
class Started:
    """First of a streamed command; ``pid`` as the sandbox counts."""

    pid: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Bytes as the command wrote them; a UTF-8 character may be split between two chunks."""

    stream: Stream
    data: bytes


@dataclass(frozen=True, slots=True)
class Exited:
    """Last of a streamed command. Exactly one of ``exit_code`` and ``signal`` is set."""

    exit_code: int | None
    signal: int | None
    duration_ms: int
    timed_out: bool


ExecEvent = Started | Chunk | Exited


def version(size: int, modified_at: float) -> str:
    """What tells one state of a file from the next; ``modified_at`` in Unix seconds."""
    return f"{size:x}-{round(modified_at * 1e6):x}"


@dataclass(frozen=True, slots=True)
class FileContent:
    """A whole regular file. ``mode`` holds the permission bits, ``modified_at`` Unix seconds."""

    content: bytes
    size: int
    mode: int
    modified_at: float


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a directory; a link is described by what it points at, if that exists."""

    name: str
    is_dir: bool
    size: int
    mode: int
    modified_at: float


@dataclass(frozen=True, slots=True)
class Directory:
    """Names sorted by code point. ``truncated`` when there were more than the ceiling allows."""

    entries: Sequence[Entry]
    truncated: bool = False


@dataclass(frozen=True, slots=True)
class Stat:
    """What a path is. When ``exists`` is false the rest is zero."""

    path: str
    exists: bool
    is_dir: bool
    size: int
    mode: int
    modified_at: float


class JournalWriter(Protocol):
    """The part of ``timeline.journal.Journal`` that records what happens in a sandbox."""

    def append(self, event: NewEvent) -> None: ...

    def append_many(self, events: Sequence[NewEvent]) -> None: ...

    def scan(self) -> Iterator[NewEvent]: ...


class Box(Protocol):
    """One running sandbox, as its commands and files see it.

    ``directory`` is the host's state of this sandbox (never visible inside), ``agent_socket`` the
    path where its agent listens, ``ties`` the connections there, ``env`` its whole environment with
    PATH and HOME, ``own_env`` the part of it that its creator gave, whose values are secrets,
    ``masking`` what else is to be hidden: expressions for ``sandboxes.host.patterns``.
    """

    @property
    def sandbox_id(self) -> str: ...
    @property
    def directory(self) -> Path: ...
    @property
    def agent_socket(self) -> Path: ...
    @property
    def ties(self) -> Ties: ...
    @property
    def env(self) -> Mapping[str, str]: ...
    @property
    def own_env(self) -> Mapping[str, str]: ...
    @property
    def masking(self) -> Sequence[str]: ...
    @property
    def journal(self) -> JournalWriter: ...
    @property
    def pids(self) -> int: ...
    @property
    def memory_mb(self) -> int: ...


@dataclass(frozen=True, slots=True)
class CreateSpec:
    """What a sandbox is to be. ``expires_at`` is ISO-8601; ``cpu`` counts whole processors.

    ``rules`` is the allowlist of a restricted network, as ``egress.policy.Policy.to_json``;
    ``snapshot`` is what its files are forked from, empty for the template's alone; ``volume`` is
    the id of what is mounted at ``/persist``, empty for nothing, and ``volume_name`` is shown.
    ``isolation`` is one of ``sandboxes.host.runtime.ISOLATIONS``; ``masking`` has the account's
    expressions of what events are not to show (``sandboxes.host.patterns``).
    """

    sandbox_id: str
    template: str
    size: str
    cpu: float
    memory_mb: int
    disk_mb: int
    pids: int
    network: str
    timeout_seconds: int
    expires_at: str
    on_timeout: str = "kill"
    env: Mapping[str, str] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
    rules: Sequence[Mapping[str, Any]] = ()
    snapshot: str = ""
    volume: str = ""
    volume_name: str = ""
    isolation: str = "runc"
    masking: Sequence[str] = ()


@dataclass(frozen=True, slots=True)
class Created:
    """A sandbox that runs, and how long the host took from the request to its agent's answer."""

    boot_ms: int


@dataclass(frozen=True, slots=True)
class PausedSandbox:
    """What a pause keeps, memory and files in MB, and since when, in µs since the epoch.

    ``is_saved`` says whether it is on disk, memory included; ``unsaved`` why it is not.
    """

    size_mb: int
    at: int
    is_saved: bool
    unsaved: str


@dataclass(frozen=True, slots=True)
class CapturedSandbox:
    """How much a snapshot holds in MB; ``without`` says why no memory is included."""

    size_mb: int
    includes_memory: bool
    without: str


@dataclass(frozen=True, slots=True)
class Availability:
    """Of a template or a class of isolation. ``reason`` says why there is none when not ready."""

    name: str
    ready: bool
    reason: str


@dataclass(frozen=True, slots=True)
class SampleInfo:
    """``at`` in whole Unix seconds, ``cores`` busy on average since the one before, bytes."""

    at: int
    cores: float
    memory: int


@dataclass(frozen=True, slots=True)
class MetricsInfo:
    """One sandbox's totals, whether it runs, and its samples of the last minute, oldest first."""

    cpu_us: int
    memory_kib_ms: int
    running: bool
    samples: list[SampleInfo]


@dataclass(frozen=True, slots=True)
class MeterInfo:
    """Cumulative within one ``generation``, of which a later one is higher; final once ``ended``.

    ``memory_kib_ms`` is the working set, integrated: KiB times milliseconds.
    """

    sandbox_id: str
    generation: int
    cpu_us: int
    memory_kib_ms: int
    ended: bool
