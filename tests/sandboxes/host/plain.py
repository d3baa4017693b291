"""The agent as an ordinary process, and a box around it: commands and files without a container."""

from __future__ import annotations

import asyncio
import os
import signal
import struct
import subprocess
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from sandboxes.host.agent.build import build
from sandboxes.host.agent.frames import Answer, Ask, Ended, Fields, Output, text
from sandboxes.host.agent.link import Link
from sandboxes.host.agent.ties import Ties
from sandboxes.host.requests import spawn_frame
from sandboxes.host.types import ExecRequest
from tests.waiting import until
from timeline.events import Kind, NewEvent
from timeline.journal import Journal

Build = Literal["static", "checked"]
BUILDS: tuple[Build, Build] = ("static", "checked")
_BINARIES = Path(__file__).parents[3] / "var" / "test"
_ENV = {"PATH": "/usr/local/bin:/usr/bin:/bin", "HOME": "/root", "LANG": "C.UTF-8"}


@dataclass
class PlainBox:
    """A box whose sandbox is this machine. ``cwd`` is where commands and files may play."""

    directory: Path
    agent_socket: Path
    cwd: Path
    journal: Journal
    process: subprocess.Popen[bytes] | None = None
    own_env: Mapping[str, str] = field(default_factory=dict)
    masking: Sequence[str] = ()
    sandbox_id: str = "sbx_01ARZ3NDEKTSV4RRFFQ69G5FAV"
    pids: int = 128
    memory_mb: int = 256
    ties: Ties = field(default_factory=Ties)

    @property
    def env(self) -> Mapping[str, str]:
        return {**_ENV, **self.own_env}

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def request(
        self, command: str, *, name: str = "cmd_1", seconds: float = 30, **env: str
    ) -> ExecRequest:
        return ExecRequest(name, command, cwd=str(self.cwd), env=env, timeout_seconds=seconds)

    def events(self, kind: Kind | None = None) -> list[NewEvent]:
        return [event for event in self.journal.scan() if kind is None or event.kind == kind]

    def text(self, *, stream: str = "stdout", span: str = "cmd_1") -> str:
        """All that the timeline shows of a command's stream."""
        outputs = [event for event in self.events(Kind.COMMAND_OUTPUT) if event.span == span]
        return "".join(item.data["text"] for item in outputs if item.data["stream"] == stream)

    def exits(self, span: str = "cmd_1") -> list[NewEvent]:
        return [event for event in self.events(Kind.COMMAND_EXITED) if event.span == span]


@contextmanager
def plain_box(
    directory: Path, *, build_as: Build = "static", own_env: Mapping[str, str] | None = None
) -> Iterator[PlainBox]:
    """A running agent; afterwards it must still be alive and must not have complained."""
    state, cwd = directory / "state", directory / "work"
    state.mkdir()
    cwd.mkdir()
    journal = Journal(state, "sbx_01ARZ3NDEKTSV4RRFFQ69G5FAV")
    box = PlainBox(state, directory / "agent.sock", cwd, journal, own_env=own_env or {})
    with (directory / "agent.err").open("wb") as complaints:
        box.process = _start(box.agent_socket, build_as, complaints.fileno())
        try:
            yield box
            ended = box.process.poll()
        finally:
            _end(box.process)
            journal.close()
    assert ended in {None, -9}, (directory / "agent.err").read_text()
    assert not (directory / "agent.err").read_text()


def _start(socket: Path, build_as: Build, stderr: int) -> subprocess.Popen[bytes]:
    binary = build(_BINARIES / f"agent-{build_as}", checked=build_as == "checked")
    options = {
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1",
        "UBSAN_OPTIONS": "halt_on_error=1:abort_on_error=1",
    }
    process = subprocess.Popen(
        [binary, "--path", socket],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        env={**os.environ, **options},
    )
    until(lambda: _listens(socket), seconds=10, what="the agent listens")
    return process


def _end(process: subprocess.Popen[bytes]) -> None:
    """The agent and all that its commands left, which would otherwise outlive it here."""
    left = _descendants(process.pid)
    process.kill()
    process.wait()
    for pid in left:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def _descendants(pid: int) -> list[int]:
    try:
        words = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    except OSError:
        return []
    return [each for word in words for each in [int(word), *_descendants(int(word))]]


def _listens(socket: Path) -> bool:
    needle = f" {socket}\n"
    lines = Path("/proc/net/unix").read_text().splitlines(keepends=True)
    return any(line.endswith(needle) and line.split()[3] == "00010000" for line in lines)


@dataclass
class Told:
    """What the agent said of a command followed to its end."""

    pid: int
    stdout: bytes
    stderr: bytes
    ended: Ended


async def spawn(box: PlainBox, request: ExecRequest, *, flags: int = 0) -> tuple[Link, int]:
    """Starts a command at the agent, with no record of it. The caller closes the link."""
    link = await Link.open(box.agent_socket)
    await link.send(Ask.SPAWN, spawn_frame(request, box.env, flags=flags))
    pid = Fields(await link.expect(Answer.STARTED, subject="cwd")).u32()
    return link, pid


async def follow(link: Link, *, pid: int = 0, offset: int = 0) -> Told:
    """Acknowledges everything up to the end."""
    streams = {"stdout": bytearray(), "stderr": bytearray()}
    while True:
        async with asyncio.timeout(30):
            kind, payload = await link.receive()
        if kind is Answer.EXITED:
            ended = Ended.parse(payload)
            return Told(pid, bytes(streams["stdout"]), bytes(streams["stderr"]), ended)
        output = Output.parse(payload, expected=offset)
        offset += len(output.data)
        streams[output.stream] += output.data
        link.acknowledge(offset)


async def soon(condition: Callable[[], Awaitable[bool]], *, seconds: float = 10) -> None:
    """Returns as soon as it holds; fails the test when it does not in time."""
    async with asyncio.timeout(seconds):
        while True:
            if await condition():
                return
            await asyncio.sleep(0.01)


async def attach(box: PlainBox, name: str, offset: int) -> Link:
    link = await Link.open(box.agent_socket)
    await link.send(Ask.ATTACH, text(name) + struct.pack("<Q", offset))
    await link.expect(Answer.STARTED, subject=name)
    return link


async def tell(box: PlainBox, request: ExecRequest, *, flags: int = 0) -> Told:
    """Runs a command at the agent to its end."""
    link, pid = await spawn(box, request, flags=flags)
    try:
        return await follow(link, pid=pid)
    finally:
        link.close()


@asynccontextmanager
async def false_agent(socket: Path, *answers: bytes) -> AsyncIterator[None]:
    """Something that sits where an agent should be, and says these bytes to whoever asks."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        writer.write(b"".join(answers))
        writer.write_eof()

    server = await asyncio.start_unix_server(answer, socket)
    try:
        yield
    finally:
        server.close()


def frame(kind: int, payload: bytes = b"", *, size: int | None = None) -> bytes:
    """A frame, or one that lies about its size."""
    return struct.pack("<IB", len(payload) if size is None else size, kind) + payload
