"""The agent through its own door: the protocol, and what it survives."""

from __future__ import annotations

import asyncio
import hashlib
import os
import random
import signal
import socket
import struct
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from sandboxes.host.agent import questions
from sandboxes.host.agent.feeder import Feeder
from sandboxes.host.agent.frames import SPAWN_PTY, SPAWN_STDIN, Answer, Ask, text
from sandboxes.host.agent.link import Link
from sandboxes.host.types import ExecRequest, HostError
from tests.sandboxes.host.plain import (
    BUILDS,
    PlainBox,
    attach,
    false_agent,
    follow,
    frame,
    plain_box,
    soon,
    spawn,
    tell,
)
from tests.waiting import until

RING = 256 * 1024


@pytest.fixture(params=BUILDS)
def box(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[PlainBox]:
    with plain_box(tmp_path, build_as=request.param) as box:
        yield box


@pytest.fixture
def small_box(tmp_path: Path) -> Iterator[PlainBox]:
    with plain_box(tmp_path) as box:
        yield box


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def resident_kilobytes(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmRSS:")[1].split()[0])


def open_descriptors(pid: int) -> int:
    return len(list(Path(f"/proc/{pid}/fd").iterdir()))


# ---- commands ----------------------------------------------------------------------------------


async def test_it_keeps_the_streams_apart_and_reports_the_exit_code(box: PlainBox) -> None:
    told = await tell(box, box.request("echo out; echo err >&2; exit 7"))
    assert (told.stdout, told.stderr) == (b"out\n", b"err\n")
    assert (told.ended.exit_code, told.ended.signal) == (7, None)
    assert told.ended.peak_memory_bytes > 0


async def test_it_reports_the_signal_that_ended_a_command(box: PlainBox) -> None:
    told = await tell(box, box.request("kill -USR1 $$"))
    assert (told.ended.exit_code, told.ended.signal) == (None, signal.SIGUSR1)


async def test_a_command_gets_its_env_its_directory_and_a_clean_start(box: PlainBox) -> None:
    script = (
        'echo "$A|$PWD"; wc -c </dev/stdin; ls /proc/self/fd | wc -l; '
        "grep -E 'SigIgn|SigBlk' /proc/self/status; cat /proc/self/oom_score_adj; ulimit -c"
    )
    told = await tell(box, box.request(script, A="b c"))
    lines = told.stdout.decode().splitlines()
    assert lines[:2] == [f"b c|{box.cwd}", "0"]
    assert lines[2] == "4"  # 0, 1, 2, and the listing's own
    assert [line.split()[1] for line in lines[3:5]] == ["0" * 16, "0" * 16]
    assert lines[5:] == ["500", "0"]


async def test_a_command_leads_a_session_of_its_own(box: PlainBox) -> None:
    told = await tell(box, box.request("cut -d' ' -f1,5,6 /proc/$$/stat"))
    assert told.stdout.decode().split() == [str(told.pid)] * 3


async def test_cpu_time_is_measured(box: PlainBox) -> None:
    told = await tell(box, box.request("for ((i=0; i<200000; i++)); do :; done"))
    assert told.ended.cpu_ms > 10


async def test_a_missing_directory_is_said_and_leaves_nothing(box: PlainBox) -> None:
    with pytest.raises(HostError) as error:
        await spawn(box, ExecRequest("cmd_1", "true", cwd=str(box.cwd / "nowhere")))
    assert error.value.code == "no_such_file"
    assert await questions.listed(box.agent_socket) == []


async def test_an_id_in_use_is_refused(box: PlainBox) -> None:
    link, _ = await spawn(box, box.request("sleep 30"))
    with pytest.raises(HostError) as error:
        await spawn(box, box.request("true"))
    assert error.value.code == "invalid"
    link.close()


async def test_something_left_in_the_background_does_not_hold_its_starter(box: PlainBox) -> None:
    told = await tell(box, box.request("sleep 60 & echo started", seconds=50))
    assert told.stdout == b"started\n"
    assert not told.ended.timed_out
    assert told.ended.duration_ms < 50_000


async def test_something_left_in_the_background_may_go_on_writing(box: PlainBox) -> None:
    go, done = box.cwd / "go", box.cwd / "done"
    script = f"(until [ -e {go} ]; do sleep 0.02; done; echo late; echo later; touch {done}) &"
    await tell(box, box.request(script))
    go.touch()
    until(done.exists, what="the background process outlives its writes")


async def test_output_of_the_background_counts_until_the_command_is_over(box: PlainBox) -> None:
    told = await tell(box, box.request("(echo soon; sleep 60) & wait -n 2>/dev/null & true"))
    assert told.stdout == b"soon\n"


async def test_orphans_are_reaped(box: PlainBox) -> None:
    await tell(box, box.request("(sleep 0.05 & sleep 0.01 &); (exit 1) & true"))
    until(lambda: children(box.pid) == [], what="no child and no zombie is left")


async def test_a_timeout_ends_the_whole_process_group(box: PlainBox) -> None:
    told = await tell(box, box.request("sleep 60 & echo $!; wait", seconds=0.2))
    assert told.ended.timed_out
    assert told.ended.signal == signal.SIGTERM
    until(lambda: not alive(int(told.stdout)), what="its child is gone too")


async def test_what_ignores_term_is_killed(box: PlainBox) -> None:
    told = await tell(box, box.request("trap '' TERM; echo x; sleep 60; sleep 60", seconds=0.2))
    assert told.ended.timed_out
    assert told.ended.signal == signal.SIGKILL
    assert told.stdout == b"x\n"


async def test_a_child_that_ignores_term_is_killed_though_its_leader_is_gone(
    box: PlainBox,
) -> None:
    script = "(trap '' TERM; while :; do sleep 1; done) & echo $!; wait"
    told = await tell(box, box.request(script, seconds=0.2))
    assert told.ended.signal == signal.SIGTERM
    until(lambda: not alive(int(told.stdout)), seconds=10, what="KILL follows")


async def test_a_command_can_be_killed_by_its_id(box: PlainBox) -> None:
    link, pid = await spawn(box, box.request("sleep 60"))
    await questions.kill(box.agent_socket, "cmd_1")
    told = await follow(link)
    assert (told.ended.signal, told.ended.timed_out) == (signal.SIGTERM, False)
    await questions.kill(box.agent_socket, "cmd_1")
    with pytest.raises(HostError) as error:
        await questions.kill(box.agent_socket, "cmd_2")
    assert error.value.code == "not_found"
    assert not alive(pid)


# ---- output that nobody takes ------------------------------------------------------------------


async def _written(box: PlainBox) -> int:
    (entry,) = await questions.listed(box.agent_socket)
    return entry.written


async def _has_written(box: PlainBox, size: int) -> bool:
    return await _written(box) >= size


async def test_a_command_waits_while_its_output_is_not_acknowledged(box: PlainBox) -> None:
    link, _ = await spawn(box, box.request("head -c 1000000 /dev/zero; echo end"))
    await soon(lambda: _has_written(box, RING))
    link.close()
    assert await _written(box) == RING
    told = await follow(await attach(box, "cmd_1", 0))
    assert told.stdout == bytes(1_000_000) + b"end\n"


async def test_unacknowledged_output_is_sent_again(box: PlainBox) -> None:
    script = "for i in 1 2 3; do echo out$i; echo err$i >&2; done"
    link, _ = await spawn(box, box.request(script))
    await soon(lambda: _has_written(box, 30))
    link.close()
    whole = await follow(await attach(box, "cmd_1", 0), offset=0)
    assert whole.stdout + whole.stderr == b"out1\nout2\nout3\nerr1\nerr2\nerr3\n"


async def test_attaching_goes_on_from_any_offset_and_no_further_back(box: PlainBox) -> None:
    link, _ = await spawn(box, box.request("printf 0123456789; sleep 60"))
    await soon(lambda: _has_written(box, 10))
    link.close()
    link = await attach(box, "cmd_1", 4)
    kind, payload = await link.receive()
    assert (kind, payload[9:]) == (Answer.OUTPUT, b"456789")
    for wrong in (3, 11, 1 << 63):
        with pytest.raises(HostError):
            await attach(box, "cmd_1", wrong)


async def test_the_end_is_kept_until_it_is_forgotten(box: PlainBox) -> None:
    assert (await tell(box, box.request("exit 4"))).ended.exit_code == 4
    assert (await follow(await attach(box, "cmd_1", 0))).ended.exit_code == 4
    await questions.forget(box.agent_socket, "cmd_1")
    assert await questions.listed(box.agent_socket) == []
    with pytest.raises(HostError) as error:
        await questions.forget(box.agent_socket, "cmd_1")
    assert error.value.code == "not_found"


async def test_a_running_command_cannot_be_forgotten(box: PlainBox) -> None:
    link, pid = await spawn(box, box.request("sleep 60"))
    with pytest.raises(HostError):
        await questions.forget(box.agent_socket, "cmd_1")
    assert alive(pid)
    link.close()


async def test_all_but_those_named_are_released_and_run_on(box: PlainBox) -> None:
    requests = [replace(box.request("read -r line; echo $line"), command_id=name) for name in "abc"]
    begun = [await spawn(box, one, flags=SPAWN_STDIN) for one in requests]
    await questions.release(box.agent_socket, sparing=["b", "gone"])
    assert [one.command_id for one in await questions.listed(box.agent_socket)] == ["b"]
    feeder = await Feeder.open(box.agent_socket, "b")
    await feeder.write(b"word\n")
    assert (await follow(begun[1][0])).stdout == b"word\n"
    assert alive(begun[0][1])
    assert alive(begun[2][1])
    feeder.close()
    for link, pid in begun:
        link.close()
        with suppress(ProcessLookupError):
            os.killpg(pid, signal.SIGKILL)


async def test_quick_changes_between_the_streams_lose_nothing(box: PlainBox) -> None:
    script = "for ((i=0; i<4000; i++)); do printf a; printf b >&2; done"
    told = await tell(box, box.request(script))
    assert (told.stdout, told.stderr) == (b"a" * 4000, b"b" * 4000)


async def test_output_held_up_by_a_slow_host_is_whole_though_the_pipe_stays_open(
    box: PlainBox,
) -> None:
    link, _ = await spawn(box, box.request("sleep 60 & head -c 300000 /dev/zero"))
    await soon(lambda: _has_written(box, RING))
    await asyncio.sleep(0.3)  # longer than the grace, which must not run while we are the ones
    told = await follow(link)
    assert len(told.stdout) == 300_000


# ---- input and terminals -----------------------------------------------------------------------


async def test_input_reaches_a_command_and_ends(box: PlainBox) -> None:
    link, _ = await spawn(box, box.request("sha256sum; echo over"), flags=SPAWN_STDIN)
    feeder = await Feeder.open(box.agent_socket, "cmd_1")
    await feeder.write(b"x" * 1_000_000)
    await feeder.end()
    told = await follow(link)
    digest = hashlib.sha256(b"x" * 1_000_000).hexdigest()
    assert told.stdout.decode() == f"{digest}  -\nover\n"


async def test_a_command_that_does_not_read_makes_its_feeder_wait(box: PlainBox) -> None:
    go = box.cwd / "go"
    script = f"until [ -e {go} ]; do sleep 0.02; done; wc -c"
    link, _ = await spawn(box, box.request(script), flags=SPAWN_STDIN)
    feeder = await Feeder.open(box.agent_socket, "cmd_1")
    writing = asyncio.create_task(feeder.write(bytes(500_000)))
    done, _ = await asyncio.wait([writing], timeout=0.3)
    assert not done
    go.touch()
    await writing
    await feeder.end()
    assert (await follow(link)).stdout == b"500000\n"


async def test_a_command_without_input_refuses_it(box: PlainBox) -> None:
    link, _ = await spawn(box, box.request("sleep 60"))
    with pytest.raises(HostError) as error:
        await Feeder.open(box.agent_socket, "cmd_1")
    assert error.value.code == "invalid"
    link.close()


async def test_a_terminal_has_a_size_that_can_change_and_echoes(box: PlainBox) -> None:
    link, _ = await spawn(box, box.request("stty size; read x; stty size; tty"), flags=SPAWN_PTY)
    await questions.resize(box.agent_socket, "cmd_1", rows=50, columns=132)
    feeder = await Feeder.open(box.agent_socket, "cmd_1")
    await feeder.write(b"hello\n")
    told = await follow(link)
    lines = told.stdout.decode().split("\r\n")
    assert "hello" in lines
    assert "50 132" in lines
    assert any(line.startswith("/dev/pts/") for line in lines)


# ---- hostile bytes -----------------------------------------------------------------------------


def say(box: PlainBox, data: bytes) -> bytes:
    """Sends bytes as they are; what comes back before the agent hangs up or falls silent."""
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(0.2)
        raw.connect(str(box.agent_socket))
        heard = b""
        try:
            raw.sendall(data)
            while part := raw.recv(65536):
                heard += part
        except OSError:
            pass
        return heard


NONSENSE = {
    "a frame of four gigabytes": struct.pack("<IB", 0xFFFFFFFF, Ask.SPAWN),
    "a frame one too large": struct.pack("<IB", 512 * 1024 + 1, Ask.SPAWN),
    "an unknown kind": frame(200, b"x"),
    "an answer as a question": frame(Answer.STARTED, bytes(12)),
    "acknowledging without a command": frame(Ask.ACK, bytes(8)),
    "input without a command": frame(Ask.DATA, b"x"),
    "an empty start": frame(Ask.SPAWN),
    "a start cut short": frame(Ask.SPAWN, bytes(20)),
    "a string that lies": frame(Ask.KILL, struct.pack("<I", 0xFFFFFFFF) + b"x"),
    "a string without its end": frame(Ask.KILL, struct.pack("<I", 3) + b"abc"),
    "a string with NUL in it": frame(Ask.KILL, struct.pack("<I", 3) + b"a\0c\0"),
    "an id too long": frame(Ask.FORGET, text("x" * 65)),
    "too many variables": frame(
        Ask.SPAWN,
        struct.pack("<IQHH", 0, 0, 0, 0) + text("a") + text("/") + text("true") + b"\xff" * 4,
    ),
    "a write with too many roots": frame(
        Ask.WRITE, struct.pack("<QI", 0, 0) + text("/x") + b"\xff\0\0\0"
    ),
    "sparing more than there can be": frame(
        Ask.RELEASE, struct.pack("<I", 65) + text("cmd_1") * 65
    ),
    "sparing without names": frame(Ask.RELEASE, struct.pack("<I", 0xFFFFFFFF)),
    "sparing with something behind": frame(
        Ask.RELEASE, struct.pack("<I", 1) + text("cmd_1") + b"x"
    ),
    "a path too long": frame(Ask.STAT, text("/" * 5000)),
    "half a frame": frame(Ask.PING, b"abc", size=100),
    "half a head": b"\x01",
    "nothing": b"",
}


@pytest.mark.parametrize("name", NONSENSE)
async def test_nonsense_costs_a_connection_and_nothing_else(box: PlainBox, name: str) -> None:
    link, pid = await spawn(box, box.request("sleep 60"))
    say(box, NONSENSE[name])
    await questions.ping(box.agent_socket)
    assert alive(pid)
    assert [entry.command_id for entry in await questions.listed(box.agent_socket)] == ["cmd_1"]
    link.close()


async def test_it_survives_random_frames(box: PlainBox) -> None:
    chance = random.Random(7)
    # Not those that change files of the machine this box is, nor the one that ends its listener.
    left_out = {Ask.MOVE, Ask.DELETE, Ask.MKDIR, Ask.WRITE, Ask.QUIESCE}
    kinds = [int(kind) for kind in Ask if kind not in left_out]
    for _ in range(150):
        payload = chance.randbytes(chance.choice([0, 1, 4, 9, 40, 300]))
        with socket.socket(socket.AF_UNIX) as raw:
            raw.connect(str(box.agent_socket))
            raw.sendall(b"".join(frame(chance.choice(kinds), payload) for _ in range(3)))
    await questions.ping(box.agent_socket)


async def test_acknowledging_what_was_never_sent_ends_the_connection(box: PlainBox) -> None:
    link, _ = await spawn(box, box.request("sleep 60"))
    link.acknowledge(1 << 40)
    with pytest.raises(HostError) as error:
        await link.receive()
    assert error.value.code == "agent_lost"


async def test_more_connections_than_it_takes_are_turned_away(box: PlainBox) -> None:
    held = []
    for _ in range(600):
        raw = socket.socket(socket.AF_UNIX)
        raw.connect(str(box.agent_socket))
        held.append(raw)
    for raw in held:
        raw.close()
    await soon(lambda: _answers(box))


async def _answers(box: PlainBox) -> bool:
    try:
        await questions.ping(box.agent_socket)
    except HostError:
        return False
    return True


async def test_a_peer_that_asks_and_never_reads_is_dropped(box: PlainBox) -> None:
    links = [(await spawn(box, box.request("sleep 60", name=f"c{n}")))[0] for n in range(20)]
    with socket.socket(socket.AF_UNIX) as raw:
        raw.settimeout(2)
        raw.connect(str(box.agent_socket))
        with pytest.raises(OSError, match=r"Broken pipe|reset"):
            for _ in range(20_000):
                raw.sendall(frame(Ask.LIST))
    await questions.ping(box.agent_socket)
    for link in links:
        link.close()


# ---- a hostile agent ---------------------------------------------------------------------------

LIES = {
    "four gigabytes": struct.pack("<IB", 0xFFFFFFFF, Answer.OK),
    "an unknown frame": frame(99, b"x"),
    "another answer": frame(Answer.META, bytes(21)),
    "too short": frame(Answer.OK, b"\1"),
    "another version": frame(Answer.OK, struct.pack("<I", 9)),
    "half a frame": frame(Answer.OK, b"\1", size=4),
    "noise": random.Random(3).randbytes(4096),
    "nothing": b"",
}


@pytest.mark.parametrize("name", LIES)
async def test_the_host_believes_no_nonsense(tmp_path: Path, name: str) -> None:
    path = tmp_path / "false.sock"
    async with false_agent(path, LIES[name]):
        with pytest.raises(HostError) as error:
            await questions.ping(path)
    assert error.value.code == "agent_lost"


async def test_the_host_takes_no_endless_list(tmp_path: Path) -> None:
    path = tmp_path / "false.sock"
    entry = frame(Answer.ENTRY, struct.pack("<BIQQQ", 0, 1, 0, 0, 0) + text("x"))
    async with false_agent(path, entry * 5000):
        with pytest.raises(HostError) as error:
            await questions.listed(path)
    assert error.value.code == "agent_lost"


async def test_no_agent_at_all_is_said(tmp_path: Path) -> None:
    with pytest.raises(HostError) as error:
        await Link.open(tmp_path / "nobody.sock")
    assert error.value.code == "agent_lost"


# ---- standing apart from the host --------------------------------------------------------------


async def test_who_asks_it_to_be_quiet_is_hung_up_on_last(small_box: PlainBox) -> None:
    def connected() -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        sock.connect(str(small_box.agent_socket))  # waits while the backlog is full
        sock.settimeout(10)
        return sock

    before = open_descriptors(small_box.pid)
    others = [connected() for _ in range(400)]
    with connected() as asking:
        asking.sendall(frame(Ask.QUIESCE))
        while asking.recv(64):
            pass
    # With the others and the listener gone, and the name that it waits at come.
    assert open_descriptors(small_box.pid) == before
    for sock in others:
        sock.close()


# ---- size --------------------------------------------------------------------------------------


async def test_it_is_small_and_stays_so(small_box: PlainBox) -> None:
    box = small_box
    assert resident_kilobytes(box.pid) < 1024  # 100 KB with musl, 800 with glibc
    await tell(box, box.request("head -c 3000000 /dev/zero", name="large"))
    await questions.forget(box.agent_socket, "large")
    used = resident_kilobytes(box.pid)
    descriptors = open_descriptors(box.pid)
    for number in range(200):
        await tell(box, box.request("echo x", name=f"c{number}"))
        await questions.forget(box.agent_socket, f"c{number}")
    until(lambda: open_descriptors(box.pid) <= descriptors, what="nothing stays open")
    assert resident_kilobytes(box.pid) <= used + 16
