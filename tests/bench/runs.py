"""A long run as an agent leaves it, written straight to the database: for what reads timelines."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import psycopg

from timeline.events import SYSTEM, Actor, Kind, NewEvent
from timeline.log import Batch, to_line
from timeline.store import store

NEEDLE = "xylophonic"
"""A word that is in one event of a run, in its middle."""

AGENT = Actor("token", id="tok_bench", name="bench", prefix="ork_bench")
_CHUNKS = 16  # of output a command
_BATCH = 2000
_VERBS = (
    "pytest -q tests",
    "pip install",
    "make",
    "cargo build",
    "python train.py",
    "npm run lint",
)
_WORDS = (
    *("collecting", "building", "wheel", "for", "passed", "failed", "warning", "module", "import"),
    *("error", "line", "file", "test", "case", "compiled", "target", "linking", "symbol", "cache"),
    *("hit", "miss", "fetch", "resolve", "request", "response", "token", "epoch", "loss", "step"),
    *("accuracy", "worker", "queue", "retry", "timeout", "connection", "index", "table", "column"),
)


def fill(database_url: str, sandbox_id: str, *, events: int, seconds: float | None = None) -> None:
    """Store that many events, which take up ``seconds`` from now on (twenty a second if not)."""
    length = seconds or events / 20
    began = time.time()
    each = length / events
    lines = []
    first = 1
    with psycopg.connect(database_url, autocommit=True) as connection:
        for number, event in enumerate(_events(events)):
            at = int((began + number * each) * 1e6)
            lines.append(to_line(NewEvent(event.kind, event.data, event.actor, event.span, at)))
            if len(lines) == _BATCH or number == events - 1:
                batch = Batch(sandbox_id, first - 1, first, len(lines), b"\n".join(lines))
                store(connection, [batch])
                first += len(lines)
                lines = []


def _events(count: int) -> Iterator[NewEvent]:
    chance = random.Random(count)
    created = {"template": "debian-12", "size": "small", "cpu": 1, "memory_mb": 1024}
    created |= {"network": "off", "timeout_seconds": 600, "on_timeout": "kill"}
    yield NewEvent(Kind.SANDBOX_CREATED, created, SYSTEM)
    told, command = 1, 0
    while told < count:
        for event in _command(chance, command, with_needle=told <= count // 2 < told + 20):
            if told < count:
                yield event
                told += 1
        command += 1


def _command(chance: random.Random, number: int, *, with_needle: bool) -> Iterator[NewEvent]:
    span = f"cmd_bench{number}"
    line = f"{chance.choice(_VERBS)} {chance.choice(_WORDS)}{number}"
    started: dict[str, object] = {"command_id": span, "command": line, "cwd": "/workspace"}
    started |= {"env_names": [], "timeout_seconds": 60, "background": False, "pid": number + 7}
    yield NewEvent(Kind.COMMAND_STARTED, started, AGENT, span)
    offset = 0
    for chunk in range(_CHUNKS):
        text = _text(chance) + (f"{NEEDLE}\n" if with_needle and chunk == 3 else "")
        offset += len(text)
        data = {"command_id": span, "stream": "stdout", "text": text, "bytes": len(text)}
        yield NewEvent(Kind.COMMAND_OUTPUT, {**data, "offset": offset, "end": offset}, AGENT, span)
    ended = {"command_id": span, "exit_code": int(chance.random() < 0.1), "signal": None}
    ended |= {"duration_ms": 1800, "cpu_ms": 900, "timed_out": False, "stdout_bytes": offset}
    yield NewEvent(Kind.COMMAND_EXITED, ended, AGENT, span)
    path = f"/workspace/{chance.choice(_WORDS)}_{number}.py"
    yield NewEvent(Kind.FILE_WRITTEN, {"path": path, "size": 1400, "mode": 0o644}, AGENT)
    yield NewEvent(Kind.FILE_READ, {"path": path, "size": 1400}, AGENT)


def _text(chance: random.Random) -> str:
    """Three lines of ordinary words, and a number that no other line has."""
    lines = (
        f"{' '.join(chance.choices(_WORDS, k=8))} {chance.getrandbits(40):010x}\n" for _ in "123"
    )
    return "".join(lines)
