"""What floods and slow readers cost: memory of the host daemon and of the ASGI server."""

from __future__ import annotations

import asyncio
import json
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from orkestr import Sandbox
from websockets.asyncio.client import connect

from tests.bench.events import end, line, start
from tests.bench.platform import Bench
from tests.bench.report import Row
from timeline.events import Kind
from timeline.models import EventRow

MIB = 2**20
PRINTER = """
import os, sys, time
seconds, rate = float(sys.argv[1]), 50 * 2**20
block = (b"0123456789abcdef" * 8)[:127] + b"\\n"
block = block * 512
began = time.monotonic()
sent = 0
while (now := time.monotonic() - began) < seconds:
    os.write(1, block)
    sent += len(block)
    ahead = sent / rate - now
    if ahead > 0:
        time.sleep(ahead)
print(sent / (time.monotonic() - began), file=sys.stderr)
"""


@dataclass
class Growth:
    """How far each part grew beyond where it began, in bytes."""

    parts: tuple[str, ...]
    memory: Callable[[str], int]
    begin: dict[str, int] = field(default_factory=dict)
    most: dict[str, int] = field(default_factory=dict)

    def look(self) -> None:
        for part in self.parts:
            now = self.memory(part)
            self.begin.setdefault(part, now)
            self.most[part] = max(self.most.get(part, 0), now)

    def __str__(self) -> str:
        return ", ".join(f"{part} +{self.of(part) / MIB:.0f} MiB" for part in self.parts)

    def of(self, part: str) -> int:
        return self.most[part] - self.begin[part]


@contextmanager
def watched(bench: Bench, *parts: str) -> Iterator[Growth]:
    """Look at memory ten times a second meanwhile."""
    growth = Growth(parts, bench.stack.memory)
    with watching(growth):
        yield growth


@contextmanager
def watching(growth: Growth) -> Iterator[None]:
    """The same, for whoever has no bench."""
    done = threading.Event()
    growth.look()

    def look() -> None:
        while not done.wait(0.1):
            growth.look()

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()
        growth.look()


def output(bench: Bench) -> list[Row]:
    """A command that prints 50 MB/s for 20 s, buffered and streamed to a caller."""
    seconds = bench.seconds(20)
    with Sandbox.create(template="python-3.12") as sandbox:
        sandbox.files.write("/workspace/printer.py", PRINTER)
        sandbox.exec("python /workspace/printer.py 1")
        command = f"python /workspace/printer.py {seconds}"
        with watched(bench, "host", "asgi") as buffered:
            printed = float(sandbox.exec(command, timeout_seconds=120).stderr)
        with watched(bench, "host", "asgi") as streamed:
            chunks = sandbox.exec_stream(command, timeout_seconds=120)
            errors = [chunk.data for chunk in chunks if chunk.stream == "stderr"]
        flowed = float(next(filter(str.strip, errors)))
        left_out = dropped(sandbox.id)
    worst = max(growth.of(part) for growth in (buffered, streamed) for part in growth.parts)
    return [
        Row(
            what=f"command output 50 MB/s for {seconds:.0f} s",
            measured=f"buffered at {printed / MIB:.0f} MiB/s: {buffered}; "
            f"streamed at {flowed / MIB:.0f} MiB/s: {streamed}; "
            f"{left_out / MIB:,.0f} MiB left out, as the timeline says",
            against="-",
            target="host and ASGI grow < 64 MB each",
            met=worst < 64e6 and left_out > 0,
            note="of an answer the host holds what it keeps once, the ASGI server twice at most",
        )
    ]


def dropped(sandbox_id: str) -> int:
    """Bytes that the timeline says it left out."""
    rows = EventRow.objects.filter(sandbox_id=sandbox_id, kind=Kind.COMMAND_EXITED.value)
    return sum(int(row.data.get("dropped") or 0) for row in rows)


def stalled(bench: Bench) -> list[Row]:
    """Five sockets that are opened and never read, while 100 MB of events pass."""
    sandbox_id, size = bench.past_sandbox(), 32 * 1024
    count = 20 * round(bench.seconds(16) * 10)
    url = f"{bench.stack.url}/ws/sandboxes/{sandbox_id}/timeline/".replace("http", "ws", 1)
    with watched(bench, "asgi") as growth:
        asyncio.run(_stall(bench, url, sandbox_id, count, size))
    return [
        Row(
            what=f"five viewers that stop reading while {count * size / 1e6:.0f} MB of events pass",
            measured=f"ASGI +{growth.of('asgi') / MIB:.1f} MiB",
            against="-",
            target="ASGI grows < 20 MB",
            met=growth.of("asgi") < 20e6,
        )
    ]


async def _stall(bench: Bench, url: str, sandbox_id: str, count: int, size: int) -> None:
    headers = {"Cookie": bench.session_cookie()}
    sockets = [
        await connect(url, additional_headers=headers, origin=bench.stack.url, max_queue=1)  # type: ignore[arg-type]
        for _ in range(5)
    ]
    with tempfile.TemporaryDirectory() as folder:
        arguments = (folder, bench.stack.redis_url, 16, count // 16, size, sandbox_id)
        writer = start("writer", *arguments)
        try:
            written = json.loads(await asyncio.to_thread(line, writer))
        finally:
            end(writer)
    assert written["events"] >= count - 16
    for socket in sockets:
        socket.transport.abort()


MEASUREMENTS = {"output": output, "stalled": stalled}
