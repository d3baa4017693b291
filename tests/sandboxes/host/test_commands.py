"""Commands on a real agent and a real journal: what callers get, what the timeline says."""

from __future__ import annotations

import asyncio
import errno
import resource
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandboxes.host import sinks
from sandboxes.host.agent import questions
from sandboxes.host.agent.frames import Answer
from sandboxes.host.commands import Commands
from sandboxes.host.types import (
    BUFFERED_LIMIT,
    Chunk,
    ExecEvent,
    ExecRequest,
    Exited,
    HostError,
    Started,
)
from tests.sandboxes.host.plain import PlainBox, false_agent, frame, plain_box, soon
from tests.waiting import until
from timeline.events import Actor, Kind
from timeline.journal import Journal

ACTOR = Actor("token", id="tok_1", name="ci", prefix="ork_abcd")
MEGABYTE = 1024 * 1024


@pytest.fixture
def box(tmp_path: Path) -> Iterator[PlainBox]:
    with plain_box(tmp_path, own_env={"API_KEY": "hunter2hunter2"}) as box:
        yield box


def recorded(box: PlainBox, *, span: str = "cmd_1") -> bool:
    return bool(box.exits(span))


# ---- what callers get --------------------------------------------------------------------------


async def test_it_runs_a_command(box: PlainBox) -> None:
    request = box.request("echo $GREETING; echo oh >&2; exit 3", GREETING="hello")
    outcome = await Commands(box).run(request, actor=ACTOR)
    assert (outcome.stdout, outcome.stderr) == (b"hello\n", b"oh\n")
    assert (outcome.exit_code, outcome.signal, outcome.timed_out) == (3, None, False)


async def test_the_caller_gets_bytes_as_they_are(box: PlainBox) -> None:
    outcome = await Commands(box).run(box.request(r"printf '\xff\0'; echo $API_KEY"), actor=ACTOR)
    assert outcome.stdout == b"\xff\0hunter2hunter2\n"


async def test_a_timeout_is_an_outcome_with_what_was_written(box: PlainBox) -> None:
    request = box.request("echo before; sleep 60", seconds=0.3)
    outcome = await Commands(box).run(request, actor=ACTOR)
    assert (outcome.stdout, outcome.timed_out, outcome.exit_code) == (b"before\n", True, None)
    (event,) = box.exits()
    assert event.data["timed_out"] is True
    assert event.data["signal"] == 15


async def test_many_run_at_once(box: PlainBox) -> None:
    commands = Commands(box)
    requests = [box.request(f"echo {number}", name=f"cmd_{number}") for number in range(60)]
    outcomes = await asyncio.gather(*(commands.run(each, actor=ACTOR) for each in requests))
    assert [outcome.stdout for outcome in outcomes] == [b"%d\n" % number for number in range(60)]
    assert len(box.events(Kind.COMMAND_EXITED)) == 60
    assert commands.running == []


async def test_buffered_output_is_kept_to_a_limit(box: PlainBox) -> None:
    extra = 100_000
    request = box.request(f"head -c {BUFFERED_LIMIT + extra} /dev/zero; echo e >&2")
    outcome = await Commands(box).run(request, actor=ACTOR)
    assert len(outcome.stdout) == BUFFERED_LIMIT
    assert (outcome.stdout_dropped, outcome.stderr_dropped) == (extra, 0)
    assert outcome.stderr == b"e\n"


async def test_all_buffers_together_are_kept_to_a_limit(
    box: PlainBox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sinks, "BUFFERED_IN_ALL", 1024 * 1024)
    commands = Commands(box)
    text = "head -c 4000000 /dev/zero"
    requests = [box.request(text, name=f"cmd_{number}") for number in range(4)]
    outcomes = await asyncio.gather(*(commands.run(one, actor=ACTOR) for one in requests))
    kept = [len(outcome.stdout) for outcome in outcomes]
    assert sum(kept) < 3 * 1024 * 1024
    assert min(kept) >= sinks.SHARE_BYTES
    assert all(len(each.stdout) + each.stdout_dropped == 4_000_000 for each in outcomes)
    assert sinks.Buffer.held == 0


BAD = {
    "invalid": [
        ExecRequest("cmd_1", ""),
        ExecRequest("cmd_1", "a\0b"),
        ExecRequest("cmd_1", "a\ud800"),
        ExecRequest("../../x", "true"),
        ExecRequest("", "true"),
        ExecRequest("cmd_1", "true", cwd="here"),
        ExecRequest("cmd_1", "true", cwd=""),
        ExecRequest("cmd_1", "true", env={"A=B": "c"}),
        ExecRequest("cmd_1", "true", env={"": "c"}),
        ExecRequest("cmd_1", "true", env={"A": "\0"}),
        ExecRequest("cmd_1", "true", timeout_seconds=-1),
        ExecRequest("cmd_1", "true", timeout_seconds=0),
        ExecRequest("cmd_1", "true", timeout_seconds=float("nan")),
        ExecRequest("cmd_1", "true", timeout_seconds=float("inf")),
    ],
    "too_large": [
        ExecRequest("cmd_1", "#" * MEGABYTE),
        ExecRequest("cmd_1", "true", env={"A": "x" * 200_000}),
        ExecRequest("cmd_1", "true", env={f"A{n}": "x" * 100_000 for n in range(6)}),
        ExecRequest("cmd_1", "true", env={f"A{n}": "x" for n in range(2000)}),
    ],
    "name_too_long": [ExecRequest("cmd_1", "true", cwd="/" + "x" * 5000)],
    "no_such_file": [ExecRequest("cmd_1", "true", cwd="/nowhere/at/all")],
    "not_a_directory": [ExecRequest("cmd_1", "true", cwd="/dev/null")],
}


@pytest.mark.parametrize("code", BAD)
async def test_what_cannot_run_is_refused_and_leaves_no_trace(box: PlainBox, code: str) -> None:
    commands = Commands(box)
    for request in BAD[code]:
        with pytest.raises(HostError) as error:
            await commands.run(request, actor=ACTOR)
        assert error.value.code == code, request
        assert error.value.message.endswith(".")
    assert box.events() == []
    assert commands.running == []
    outcome = await commands.run(box.request("echo fine"), actor=ACTOR)
    assert outcome.stdout == b"fine\n"


async def test_the_largest_command_runs(box: PlainBox) -> None:
    command = "echo fine #"
    command += "x" * (128 * 1024 - 1 - len(command))
    assert (await Commands(box).run(box.request(command), actor=ACTOR)).stdout == b"fine\n"


async def test_an_id_in_use_is_refused(box: PlainBox) -> None:
    commands = Commands(box)
    await commands.start(box.request("sleep 60"), actor=ACTOR)
    with pytest.raises(HostError) as error:
        await commands.run(box.request("true"), actor=ACTOR)
    assert error.value.code == "invalid"
    await commands.kill("cmd_1")
    assert await commands.settled()


# ---- streaming ---------------------------------------------------------------------------------


async def test_output_arrives_while_the_command_runs(box: PlainBox) -> None:
    go = box.cwd / "go"
    request = box.request(f"echo one; until [ -e {go} ]; do sleep 0.01; done; echo two >&2; exit 5")
    events: list[ExecEvent] = []
    async for event in Commands(box).stream(request, actor=ACTOR):
        events.append(event)
        if isinstance(event, Chunk) and event.stream == "stdout":
            go.touch()
    assert isinstance(events[0], Started)
    assert events[1:3] == [Chunk("stdout", b"one\n"), Chunk("stderr", b"two\n")]
    assert isinstance(events[3], Exited)
    assert events[3].exit_code == 5


async def test_a_stream_that_cannot_start_says_why(box: PlainBox) -> None:
    request = ExecRequest("cmd_1", "true", cwd="/nowhere")
    with pytest.raises(HostError) as error:
        async for _ in Commands(box).stream(request, actor=ACTOR):
            pytest.fail("nothing can come")
    assert error.value.code == "no_such_file"


async def test_a_reader_that_leaves_changes_nothing(box: PlainBox) -> None:
    commands = Commands(box)
    go = box.cwd / "go"
    script = (
        f"echo one; until [ -e {go} ]; do sleep 0.01; done; head -c 3000000 /dev/zero; echo two"
    )
    stream = commands.stream(box.request(script), actor=ACTOR)
    async for event in stream:
        if isinstance(event, Chunk):
            break
    await stream.aclose()
    go.touch()
    assert await commands.settled(20)
    (event_,) = box.exits()
    assert (event_.data["exit_code"], event_.data["stdout_bytes"]) == (0, 3_000_008)


async def test_a_caller_that_gives_up_changes_nothing(box: PlainBox) -> None:
    commands = Commands(box)
    go = box.cwd / "go"
    script = f"echo here; until [ -e {go} ]; do sleep 0.01; done; echo there"
    running = asyncio.create_task(commands.run(box.request(script), actor=ACTOR))
    await soon(lambda: _shows(box, "here\n"))
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    go.touch()
    assert await commands.settled()
    assert box.text() == "here\nthere\n"


async def _shows(box: PlainBox, text: str) -> bool:
    return text in box.text()


async def test_a_slow_reader_slows_the_command_and_one_that_leaves_frees_it(box: PlainBox) -> None:
    commands = Commands(box)
    stream = commands.stream(box.request("head -c 50000000 /dev/zero"), actor=ACTOR)
    assert isinstance(await anext(stream), Started)
    written = await _standing_still(box)
    assert written < 2 * MEGABYTE
    await stream.aclose()
    assert await commands.settled(30)
    assert box.exits()[0].data["stdout_bytes"] == 50_000_000


async def _standing_still(box: PlainBox) -> int:
    """How much a command has written once it writes no more."""
    before = -1
    while True:
        (entry,) = await questions.listed(box.agent_socket)
        if entry.written == before:
            return before
        before = entry.written
        await asyncio.sleep(0.3)


async def test_a_flood_does_not_grow_the_host(box: PlainBox) -> None:
    commands = Commands(box)
    await commands.run(box.request("head -c 20000000 /dev/zero >&2", name="warm"), actor=ACTOR)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    await commands.start(box.request("head -c 600000000 /dev/zero"), actor=ACTOR)
    assert await commands.settled(60)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    assert grown < 8 * 1024  # kilobytes
    assert box.exits()[0].data["stdout_bytes"] == 600_000_000


# ---- what the timeline says --------------------------------------------------------------------


async def test_events_tell_the_whole_story_in_order(box: PlainBox) -> None:
    await Commands(box).run(box.request("echo hi", SECRET="x"), actor=ACTOR)
    started, output, exited = box.events()
    assert (started.kind, output.kind, exited.kind) == (
        "command.started",
        "command.output",
        "command.exited",
    )
    assert {event.span for event in box.events()} == {"cmd_1"}
    assert {event.actor for event in box.events()} == {ACTOR}
    assert started.data["env_names"] == ["SECRET"]
    assert (output.data["text"], output.data["bytes"], output.data["offset"]) == ("hi\n", 3, 3)
    assert exited.data["exit_code"] == 0


async def test_secrets_are_not_in_the_journal_file(box: PlainBox) -> None:
    script = "echo $API_KEY; echo $MINE; printf hunter2; sleep 0.1; printf hunter2; echo"
    await Commands(box).run(box.request(script, MINE="swordfish"), actor=ACTOR)
    raw = b"".join(path.read_bytes() for path in box.journal.directory.iterdir())
    assert b"hunter2hunter2" not in raw
    assert b"swordfish" not in raw
    assert box.text() == "[masked]\n[masked]\n[masked]\n"


async def test_the_whole_output_is_on_disk_and_private(box: PlainBox) -> None:
    await Commands(box, timeline_limit=1000).run(
        box.request("for i in $(seq 1000); do echo line $i; done"), actor=ACTOR
    )
    path = box.directory / "commands" / "cmd_1.out"
    assert path.read_text() == "".join(f"line {n}\n" for n in range(1, 1001))
    assert path.stat().st_mode & 0o077 == 0
    assert len(box.text()) == 1000
    last = box.events(Kind.COMMAND_OUTPUT)[-1].data
    assert last["dropped"] == path.stat().st_size - 1000


async def test_a_short_wait_gathers_small_writes(box: PlainBox) -> None:
    await Commands(box).run(box.request("for i in $(seq 3000); do echo $i; done"), actor=ACTOR)
    assert box.text() == "".join(f"{n}\n" for n in range(1, 3001))
    assert len(box.events(Kind.COMMAND_OUTPUT)) < 300


async def test_a_lost_agent_ends_the_command_with_an_error(box: PlainBox) -> None:
    commands = Commands(box)
    running = asyncio.create_task(commands.run(box.request("echo up; sleep 60"), actor=ACTOR))
    await soon(lambda: _shows(box, "up"))
    assert box.process is not None
    box.process.kill()
    with pytest.raises(HostError) as error:
        await running
    assert error.value.code == "agent_lost"
    (event,) = box.exits()
    assert event.data["error"] == "agent_lost"
    assert (event.data["exit_code"], event.data["signal"]) == (None, None)


async def test_too_many_processes_are_a_limit_on_the_timeline(tmp_path: Path) -> None:
    journal = Journal(tmp_path, "sbx_1")
    box = PlainBox(tmp_path, tmp_path / "false.sock", tmp_path, journal)
    answer = frame(Answer.ERROR, struct.pack("<BI", ord("f"), errno.EAGAIN))
    async with false_agent(box.agent_socket, answer):
        with pytest.raises(HostError) as error:
            await Commands(box).run(box.request("true"), actor=ACTOR)
    assert error.value.code == "pids_exhausted"
    (event,) = box.events()
    assert event.kind == Kind.LIMIT_HIT
    assert (event.data["limit"], event.data["cap"]) == ("pids", 128)
    journal.close()


STARTED = frame(Answer.STARTED, struct.pack("<IQ", 7, 0))
LIES = {
    "output from nowhere": frame(Answer.OUTPUT, struct.pack("<BQ", 1, 99) + b"x"),
    "output of a third stream": frame(Answer.OUTPUT, struct.pack("<BQ", 3, 0) + b"x"),
    "output without bytes": frame(Answer.OUTPUT, struct.pack("<BQ", 1, 0)),
    "four gigabytes": struct.pack("<IB", 0xFFFFFFFF, Answer.OUTPUT),
    "an impossible end": frame(Answer.EXITED, struct.pack("<BIB5Q", 1, 0, 0, 0, 0, 0, 0, 0)),
    "an end cut short": frame(Answer.EXITED, b"e"),
    "an end that took for ever": frame(
        Answer.EXITED, struct.pack("<BIB5Q", ord("e"), 0, 0, *([(1 << 64) - 1] * 5))
    ),
    "a second start": STARTED,
    "silence": b"",
}


@pytest.mark.parametrize("name", LIES)
async def test_an_agent_that_lies_is_lost(tmp_path: Path, name: str) -> None:
    journal = Journal(tmp_path, "sbx_1")
    box = PlainBox(tmp_path, tmp_path / "false.sock", tmp_path, journal)
    async with false_agent(box.agent_socket, STARTED, LIES[name]):
        with pytest.raises(HostError) as error:
            await Commands(box).run(box.request("true"), actor=ACTOR)
    assert error.value.code == "agent_lost"
    assert box.exits()[0].data["error"] == "agent_lost"
    journal.close()


# ---- hosts that come and go --------------------------------------------------------------------


async def test_a_host_that_restarts_in_order_goes_on(box: PlainBox) -> None:
    go = box.cwd / "go"
    script = f"echo one; until [ -e {go} ]; do sleep 0.01; done; echo two; exit 9"
    first = Commands(box)
    waiting = asyncio.create_task(first.run(box.request(script), actor=ACTOR))
    await soon(lambda: _shows(box, "one"))
    await first.close()
    with pytest.raises(HostError) as error:
        await waiting
    assert error.value.code == "host_unreachable"
    second = Commands(box)
    await second.recover()
    assert second.running == ["cmd_1"]
    go.touch()
    assert await second.settled()
    assert box.text() == "one\ntwo\n"
    (event,) = box.exits()
    assert (event.data["exit_code"], event.actor) == (9, ACTOR)
    assert await questions.listed(box.agent_socket) == []


async def test_closing_the_host_ends_a_stream_with_an_error(box: PlainBox) -> None:
    commands = Commands(box)
    stream = commands.stream(box.request("echo one; sleep 60"), actor=ACTOR)
    assert isinstance(await anext(stream), Started)
    assert await anext(stream) == Chunk("stdout", b"one\n")
    await commands.close()
    with pytest.raises(HostError) as error:
        await anext(stream)
    assert error.value.code == "host_unreachable"


async def test_a_command_the_agent_no_longer_has_is_ended_on_the_record(box: PlainBox) -> None:
    first = Commands(box)
    await first.start(box.request("sleep 60"), actor=ACTOR)
    await first.close()
    await questions.kill(box.agent_socket, "cmd_1")
    await soon(lambda: _gone(box))
    second = Commands(box)
    await second.recover()
    assert await second.settled()
    (event,) = box.exits()
    assert event.data["error"] == "agent_lost"


async def _gone(box: PlainBox) -> bool:
    """Whether the command has ended; then it is forgotten as if the agent were a new one."""
    (entry,) = await questions.listed(box.agent_socket)
    if entry.ended:
        await questions.forget(box.agent_socket, "cmd_1")
    return entry.ended


async def test_recovering_leaves_new_commands_alone(box: PlainBox) -> None:
    commands = Commands(box)
    await commands.start(box.request("sleep 60"), actor=ACTOR)
    await commands.recover()
    assert commands.running == ["cmd_1"]
    await commands.kill("cmd_1")
    assert await commands.settled()
    (event,) = box.exits()
    assert event.data["signal"] == 15


async def test_a_background_command_needs_no_timeout(box: PlainBox) -> None:
    request = ExecRequest(
        "cmd_1", "echo up; sleep 60", cwd=str(box.cwd), timeout_seconds=0, background=True
    )
    commands = Commands(box)
    assert await commands.start(request, actor=ACTOR) > 0
    await soon(lambda: _shows(box, "up"))
    assert box.events(Kind.COMMAND_STARTED)[0].data["background"] is True
    await commands.kill("cmd_1")
    assert await commands.settled()


async def test_recovering_nothing_is_fine(box: PlainBox) -> None:
    commands = Commands(box)
    await commands.recover()
    assert commands.running == []


class Hosts:
    """Host processes on one box, one after another."""

    def __init__(self, box: PlainBox, command: str) -> None:
        self.box = box
        self.command = command
        box.journal.close()
        self.output = box.directory / "commands" / "cmd_1.out"

    def start(self) -> subprocess.Popen[bytes]:
        script = [sys.executable, "-m", "tests.sandboxes.host.dying_host"]
        arguments = [str(self.box.directory), str(self.box.agent_socket), self.command]
        return subprocess.Popen([*script, *arguments], cwd=Path(__file__).parents[3])

    def kill_at(self, size: int) -> None:
        """Starts one, and kills it once that much output is on disk."""
        process = self.start()
        until(lambda: self._size() >= size or process.poll() is not None, what=f"{size} bytes")
        process.kill()
        process.wait()

    def _size(self) -> int:
        return self.output.stat().st_size if self.output.exists() else 0

    def finish(self) -> None:
        process = self.start()
        assert process.wait(60) == 0
        self.box.journal = Journal(self.box.directory, self.box.sandbox_id)


@pytest.mark.parametrize("lines", [20_000, 60_000])
def test_killed_hosts_lose_and_double_nothing(box: PlainBox, lines: int) -> None:
    hosts = Hosts(box, f"for i in $(seq 1 {lines}); do echo line $i; done; exit 6")
    true_output = "".join(f"line {number}\n" for number in range(1, lines + 1))
    for part in range(1, 5):
        hosts.kill_at(len(true_output) * part // 6)
    hosts.finish()
    assert box.text() == true_output
    assert hosts.output.read_text() == true_output
    assert len(box.events(Kind.COMMAND_STARTED)) == 1
    (event,) = box.exits()
    assert (event.data["exit_code"], event.data["stdout_bytes"]) == (6, len(true_output))
    assert sum(each.data["bytes"] for each in box.events(Kind.COMMAND_OUTPUT)) == len(true_output)


def test_a_command_that_ends_while_there_is_no_host_is_recorded(box: PlainBox) -> None:
    done = box.cwd / "done"
    hosts = Hosts(box, f"echo begin; sleep 0.5; echo end; touch {done}; exit 2")
    hosts.kill_at(6)
    until(done.exists, what="the command goes on without a host")
    hosts.finish()
    assert box.text() == "begin\nend\n"
    assert [event.data["exit_code"] for event in box.exits()] == [2]
