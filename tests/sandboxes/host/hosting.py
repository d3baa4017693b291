"""A sandbox host of a test's own, as the process it is, and what it records."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import pytest
import redis
from ulid import ULID

from sandboxes.host.client import HostClient
from sandboxes.host.places import Places
from sandboxes.host.runtime import ISOLATIONS
from sandboxes.host.types import CreateSpec, ExecOutcome, ExecRequest
from tests.waiting import until
from timeline.events import Actor, NewEvent
from timeline.log import cursor_key

ACTOR = Actor("token", id="t1", name="tests", prefix="ork_tests")
START_SECONDS = 60
STOP_SECONDS = 60


def new_spec(**changes: object) -> CreateSpec:
    """A small sandbox that nobody has asked for yet."""
    fields: dict[str, object] = {
        "sandbox_id": f"sbx_{ULID()}",
        "template": "debian-12",
        "size": "small",
        "cpu": 1.0,
        "memory_mb": 256,
        "disk_mb": 128,
        "pids": 64,
        "network": "off",
        "timeout_seconds": 600,
        "expires_at": "2030-01-01T00:00:00+00:00",
    }
    return CreateSpec(**{**fields, **changes})  # type: ignore[arg-type]


def command(text: str, **changes: object) -> ExecRequest:
    return ExecRequest(f"cmd_{ULID()}", text, **changes)  # type: ignore[arg-type]


@dataclass(slots=True)
class HostProcess:
    """``python -m sandboxes.host`` on a folder of its own."""

    templates: Path
    redis_url: str
    folder: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="ork-host-")))
    process: subprocess.Popen[bytes] | None = None

    @property
    def directory(self) -> Path:
        return self.folder / "data"

    @property
    def socket(self) -> Path:
        return self.folder / "host.sock"

    @property
    def places(self) -> Places:
        return Places.of(self.directory)

    @property
    def client(self) -> HostClient:
        return HostClient(str(self.socket))

    def log(self) -> str:
        return (self.folder / "host.log").read_text()

    def argv(self, action: str) -> list[str]:
        options = {
            "socket": self.socket,
            "dir": self.directory,
            "templates": self.templates,
            "redis": self.redis_url,
            "agent": self.templates / "agent",
            "ready": 1,
        }
        given = [f"--{name}={value}" for name, value in options.items()]
        return [sys.executable, "-m", "sandboxes.host", action, *given]

    def start(self) -> None:
        """Returns when it answers calls."""
        with (self.folder / "host.log").open("ab") as log:
            before = log.tell()
            self.process = subprocess.Popen(
                self.argv("serve"), stdout=log, stderr=log, cwd=Path.cwd(), start_new_session=True
            )

        def answers() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, self.log()
            return '"ready"' in self.log()[before:]

        until(answers, seconds=START_SECONDS, what="the host answers")

    def end(self, number: signal.Signals) -> int:
        """Send a signal and wait for the end; the exit status."""
        assert self.process is not None
        self.process.send_signal(number)
        status = self.process.wait(STOP_SECONDS)
        self.process = None
        return status

    def kill(self) -> None:
        """As a fault would."""
        self.end(signal.SIGKILL)

    def run(self, action: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.argv(action), capture_output=True, text=True, timeout=60, check=False
        )

    def close(self) -> None:
        """End it and every sandbox it has, and remove the folder."""
        if self.process is not None:
            self.end(signal.SIGINT)
        done = self.run("stop-all")
        assert done.returncode == 0, done.stderr
        shutil.rmtree(self.folder)

    def events(self, sandbox_id: str) -> list[NewEvent]:
        """What has reached Redis of one sandbox, in its order."""
        found: list[tuple[int, NewEvent]] = []
        with redis.Redis.from_url(self.redis_url) as connection:
            for key in connection.scan_iter("tl:shard:*"):
                for _, fields in connection.xrange(key):
                    if fields[b"s"].decode() == sandbox_id:
                        lines = fields[b"e"].splitlines()
                        first = int(fields[b"i"])
                        parsed = (NewEvent.from_json(orjson.loads(line)) for line in lines)
                        found += enumerate(parsed, start=first)
        return [event for _, event in sorted(found, key=lambda pair: pair[0])]

    def forget_events(self) -> None:
        """Take what has reached Redis away, as a worker would; else every test reads through the
        events of all before it, again and again."""
        with redis.Redis.from_url(self.redis_url) as connection:
            for key in connection.scan_iter("tl:shard:*"):
                connection.xtrim(key, maxlen=0)

    def until_event(self, sandbox_id: str, kind: str) -> NewEvent:
        """The first event of a kind, once it is there."""

        def there() -> bool:
            return any(event.kind == kind for event in self.events(sandbox_id))

        until(there, what=f"{kind} of {sandbox_id}")
        return next(event for event in self.events(sandbox_id) if event.kind == kind)

    def say_stored(self, sandbox_id: str) -> None:
        """Tell the host what a worker does when PostgreSQL has all that was shipped."""
        with redis.Redis.from_url(self.redis_url) as connection:
            shipped = connection.hget(cursor_key(sandbox_id), "shipped")
            connection.hset(cursor_key(sandbox_id), "stored", shipped)

    def init_pid(self, sandbox_id: str) -> int:
        """Of a sandbox's PID 1, as this machine counts."""
        state = orjson.loads(
            (self.directory / "sandboxes" / sandbox_id / "state.json").read_bytes()
        )
        slot = orjson.loads((self.places.slots / state["slot"] / "slot.json").read_bytes())
        return int(slot["identity"]["pid"])

    def traces(self) -> list[str]:
        """What the machine still holds of any sandbox of this host."""
        images = str(self.directory)
        loops = [
            path.parent.parent.name
            for path in Path("/sys/block").glob("loop*/loop/backing_file")
            if images in _read(path)
        ]
        mounts = [line for line in _read(Path("/proc/mounts")).splitlines() if images in line]
        groups = [str(path) for path in Path("/sys/fs/cgroup").glob(f"*{self.places.cgroup}/*/")]
        folders = [str(path) for path in self.places.slots.iterdir()]
        sockets = [str(path) for path in self.places.agents.iterdir()]
        return [*loops, *mounts, *groups, *folders, *sockets]


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


@dataclass(frozen=True, slots=True)
class Sandboxed:
    """One sandbox of a host, for a test that speaks to it."""

    host: HostProcess
    spec: CreateSpec

    @property
    def id(self) -> str:
        return self.spec.sandbox_id

    async def exec(self, text: str, **changes: object) -> ExecOutcome:
        return await self.host.client.exec(self.id, command(text, **changes), actor=ACTOR)

    async def output(self, text: str) -> str:
        """What a command that works prints."""
        outcome = await self.exec(text)
        assert outcome.exit_code == 0, outcome
        return outcome.stdout.decode()

    async def fails(self, text: str) -> str:
        """What a command that must not work complains about."""
        outcome = await self.exec(text)
        assert outcome.exit_code != 0, outcome
        return outcome.stderr.decode()

    async def terminate(self) -> None:
        await self.host.client.terminate(self.id, actor=ACTOR, reason="requested")


#: Runs a test in each isolation class.
both = pytest.mark.parametrize("isolation", ISOLATIONS, indirect=True)

#: Makes a sandbox that ends with the test.
Make = Callable[..., Awaitable[Sandboxed]]


async def create(host: HostProcess, **changes: object) -> Sandboxed:
    """One that nothing ends but the test, or its host's end."""
    spec = new_spec(**changes)
    await host.client.create(spec, actor=ACTOR)
    return Sandboxed(host, spec)
