"""Terminals of a real sandbox, through the host's own socket."""

from __future__ import annotations

import asyncio
import signal

import orjson
import psutil
import pytest
from ulid import ULID

from sandboxes.host.terminals.client import TerminalClient
from sandboxes.host.terminals.types import Size, Visitor
from sandboxes.host.types import HostError
from tests.sandboxes.host.hosting import ACTOR, HostProcess, Make, Sandboxed, both
from tests.sandboxes.host.terminals.visiting import ANN, BEN, Visit, new_terminal, visit
from tests.waiting import until
from timeline.events import NewEvent

GROWTH = 32 * 1024 * 1024
FULL_SCREEN = r"""
draw() { printf '\033[H\033[2Jmy %s screen' "$(stty size)"; }
trap draw WINCH
printf '\033[?1049h'
draw
for i in $(seq 4000); do printf '\033[9;9Hframe %s of many' $i; done
while :; do sleep 0.1; done
"""


@pytest.fixture
def client(host: HostProcess) -> TerminalClient:
    return TerminalClient(str(host.socket))


async def open_in(client: TerminalClient, sandbox: Sandboxed, **size: int) -> str:
    request = new_terminal(size=Size(**size) if size else None)
    return (await client.terminal_open(sandbox.id, request, actor=ANN)).id


def told(sandbox: Sandboxed, kind: str) -> list[NewEvent]:
    events = sandbox.host.events(sandbox.id)
    return [event for event in events if event.kind == f"terminal.{kind}"]


def transcript(sandbox: Sandboxed) -> str:
    return "".join(event.data["text"] for event in told(sandbox, "output"))


async def cast(client: TerminalClient, sandbox: Sandboxed, terminal_id: str) -> list[list[object]]:
    data, size = await client.terminal_recording(sandbox.id, terminal_id, offset=0)
    assert len(data) == size
    header, *events = map(orjson.loads, data.splitlines())
    assert header["version"] == 2
    return events


@both
async def test_a_shell_runs_in_the_sandbox_in_the_size_of_its_driver(
    client: TerminalClient, sandbox: Sandboxed
) -> None:
    terminal = await open_in(client, sandbox, rows=30, columns=100)
    async with visit(client, sandbox.id, terminal) as ann:
        await ann.line('echo "$0 $TERM $PWD $(stty size) $((40 + 2))"')
        await ann.sees("bash xterm-256color /workspace 30 100 42")
        await ann.attendance.resize(Size(41, 121))
        await ann.hears("size", rows=41, columns=121)
        await ann.line('echo "now $(stty size)"')
        await ann.sees("now 41 121")
        await ann.line("exit 7")
        await ann.hears("closed", exit_code=7, lost=False)
    sandbox.host.until_event(sandbox.id, "terminal.closed")
    opened, closed = told(sandbox, "opened")[0], told(sandbox, "closed")[0]
    assert (opened.actor, opened.data["columns"], opened.span) == (ANN, 100, terminal)
    assert (closed.data["exit_code"], closed.data["watchers"]) == (7, ["Ann"])
    assert [event.data["text"] for event in told(sandbox, "input")][-1] == "exit 7\r"
    assert all(event.actor == ANN for event in told(sandbox, "input"))
    assert "now 41 121" in transcript(sandbox)
    events = await cast(client, sandbox, terminal)
    assert "now 41 121" in "".join(str(event[2]) for event in events if event[1] == "o")
    assert [event[2] for event in events if event[1] == "r"] == ["121x41"]
    rows = await client.terminal_list(sandbox.id)
    assert [(row.id, row.status, row.exit_code) for row in rows] == [(terminal, "closed", 7)]


async def test_one_drives_and_others_watch_until_one_of_them_takes_over(
    client: TerminalClient, sandbox: Sandboxed
) -> None:
    terminal = await open_in(client, sandbox)
    async with visit(client, sandbox.id, terminal) as ann:
        await ann.line("echo fir''st")
        await ann.sees("first")
        async with visit(client, sandbox.id, terminal, BEN) as ben:
            await ben.sees("first")
            await ben.hears("people", driver="Ann", you=False, yours=False)
            await ben.line("echo not''me")
            await ben.attendance.take_over()
            await ben.hears("people", driver="Ben", you=True)
            await ann.hears("people", driver="Ben", you=False)
            await ben.line("echo by''ben")
            await ann.sees("byben")
            assert b"notme" not in ann.shown
        await ann.hears("people", driver="Ben", away=True)
        await ann.attendance.take_over()
        await ann.hears("people", driver="Ann", you=True)
    until(lambda: len(told(sandbox, "taken")) == 2, what="both are told")
    first, second = told(sandbox, "taken")
    assert (first.actor, first.data["before"], first.data["watchers"]) == (
        BEN,
        "Ann",
        ["Ann", "Ben"],
    )
    assert (second.actor, second.data["before"]) == (ANN, "Ben")
    typed = {event.data.get("text"): event.actor.name for event in told(sandbox, "input")}
    assert typed == {"echo fir''st\r": "Ann", "echo by''ben\r": "Ben"}


async def test_the_same_page_has_its_place_back_and_no_other_takes_it(
    client: TerminalClient, sandbox: Sandboxed
) -> None:
    terminal = await open_in(client, sandbox)
    async with visit(client, sandbox.id, terminal, seat="left") as ann:
        await ann.hears("people", you=True)
    async with visit(client, sandbox.id, terminal, BEN, seat="left") as ben:
        await ben.hears("people", driver="Ann", away=True, you=False)
        async with visit(client, sandbox.id, terminal, seat="left") as ann:
            await ann.hears("people", driver="Ann", away=False, you=True, yours=True)
            async with visit(client, sandbox.id, terminal, seat="right") as beside:
                await beside.hears("people", driver="Ann", you=False, yours=True)
    assert told(sandbox, "taken") == []


async def test_a_viewer_never_types_and_sees_no_secret(
    client: TerminalClient, make_sandbox: Make
) -> None:
    sandbox = await make_sandbox(env={"API_KEY": "hunter2-hunter2"})
    terminal = await open_in(client, sandbox)
    async with (
        visit(client, sandbox.id, terminal) as ann,
        visit(client, sandbox.id, terminal, BEN, drives=False) as ben,
    ):
        await ben.line("echo no''body")
        await ann.line("echo key=$API_KEY.")
        await ann.sees("key=hunter2-hunter2.")
        await ben.sees("key=[masked].")
        ben.slow = True
        await ben.attendance.take_over()
        assert await ben.fails() == "not_permitted"
        assert b"hunter2" not in ben.shown
        assert b"nobody" not in ann.shown
    events = await cast(client, sandbox, terminal)
    assert "hunter2" not in str(events)
    assert "hunter2" not in transcript(sandbox)


@both
async def test_what_is_typed_without_an_echo_is_counted_and_not_kept(
    client: TerminalClient, sandbox: Sandboxed
) -> None:
    terminal = await open_in(client, sandbox)
    async with visit(client, sandbox.id, terminal) as ann:
        await ann.line("read -rsp 'pass''word: ' p; echo \"<${#p}>\"")
        await ann.sees("password: ")
        await ann.line("correct horse")
        await ann.sees("<13>")
    until(lambda: len(told(sandbox, "input")) == 2, what="both are told")
    hidden = told(sandbox, "input")[1]
    assert hidden.data["hidden"] is True
    assert hidden.data["bytes"] == 14
    assert "horse" not in str([event.data for event in sandbox.host.events(sandbox.id)])
    assert "horse" not in str(await cast(client, sandbox, terminal))


@both
async def test_it_goes_on_through_a_killed_host(client: TerminalClient, sandbox: Sandboxed) -> None:
    terminal = await open_in(client, sandbox, rows=20, columns=90)
    async with visit(client, sandbox.id, terminal, seat="mine") as ann:
        await ann.line("name=kept; printf '\\033[?2004l'; echo read''y")
        await ann.sees("ready")
        await ann.line("(sleep 1; echo mean''while) &")
        await ann.sees("while) &\r\n")
    sandbox.host.kill()
    await asyncio.sleep(1.2)
    sandbox.host.start()
    async with visit(client, sandbox.id, terminal, seat="mine") as ann:
        await ann.hears("people", driver="Ann", you=True)
        await ann.hears("size", rows=20, columns=90)
        await ann.sees("ready")
        await ann.sees("meanwhile")
        await ann.line("echo $name $(stty size)")
        await ann.sees("kept 20 90")
        await ann.line("exit")
        await ann.hears("closed")
    sandbox.host.until_event(sandbox.id, "terminal.closed")
    shown = transcript(sandbox)
    assert shown.count("lready") == shown.count("meanwhile") == shown.count("kept 20 90") == 1
    ends = [event.data["end"] for event in told(sandbox, "output")]
    assert ends == sorted(set(ends))
    sizes = sum(event.data["bytes"] for event in told(sandbox, "output"))
    assert sizes == ends[-1] == told(sandbox, "closed")[0].data["output_bytes"]
    recorded = "".join(str(e[2]) for e in await cast(client, sandbox, terminal) if e[1] == "o")
    assert recorded.replace("\r", "") == shown.replace("\r", "")


@both
async def test_it_stands_still_with_its_sandbox_and_goes_on(
    client: TerminalClient, sandbox: Sandboxed
) -> None:
    terminal = await open_in(client, sandbox)
    async with visit(client, sandbox.id, terminal) as ann:
        await ann.line("echo be''fore")
        await ann.sees("before")
        snapshot = f"snap_{ULID()}"
        await client.pause(sandbox.id, snapshot_id=snapshot, reason="requested", actor=ACTOR)
        await ann.line("echo af''ter")
        await ann.until(lambda: bool(ann.refused), what="the keys come back")
        assert ann.refused == [b"echo af''ter\r"]
        assert ann.heard["refused"]["code"] == "paused"
        async with visit(client, sandbox.id, terminal, BEN) as ben:
            await ben.sees("before")
        with pytest.raises(HostError, match="paused"):
            await open_in(client, sandbox)
        await client.resume(
            sandbox.id, reason="requested", timeout_seconds=60, expires_at="", actor=ACTOR
        )
        await ann.attendance.type(ann.refused[0])
        await ann.sees("\rafter")


async def test_keys_that_are_said_again_after_a_lost_connection_are_typed_once(
    client: TerminalClient, sandbox: Sandboxed
) -> None:
    terminal = await open_in(client, sandbox)
    keys = b"echo on''ce-$((n+=1))\r"
    async with visit(client, sandbox.id, terminal, page="one") as ann:
        await ann.hears("typed", bytes=0, fresh=True)
        await ann.attendance.type_from(0)
        await ann.attendance.type(keys)
        await ann.hears("typed", bytes=len(keys))
    async with visit(client, sandbox.id, terminal, page="one") as ann:
        await ann.hears("typed", bytes=len(keys), fresh=True)
        await ann.attendance.type_from(0)  # as a page would that has not heard of it
        await ann.attendance.type(keys + b"echo to''tal-$n\r")
        await ann.sees("total-1")
    async with visit(client, sandbox.id, terminal, page="other") as ann:
        await ann.attendance.type_from(0)
        await ann.attendance.type(keys)
        await ann.sees("once-2")


async def test_closing_hangs_up_what_runs_in_it(client: TerminalClient, sandbox: Sandboxed) -> None:
    terminal = await open_in(client, sandbox)
    async with visit(client, sandbox.id, terminal) as ann:
        await ann.line("trap '' TERM; sleep 1000")
        await ann.sees("sleep 1000\r\n")
        await client.terminal_close(sandbox.id, terminal, actor=ANN)
        await ann.hears("closed", lost=False)
    listed = "cat /proc/[0-9]*/cmdline 2>&1 | tr '\\0' ' ' | grep -q 'sleep [1]000'"
    await sandbox.output(f"while {listed}; do sleep 0.05; done")  # its death takes a moment
    await client.terminal_close(sandbox.id, terminal, actor=ANN)
    async with visit(client, sandbox.id, terminal) as late:
        assert await late.fails() == "no_such_terminal"


async def test_who_types_on_as_it_closes_still_hears_how_it_closed(
    client: TerminalClient, sandbox: Sandboxed
) -> None:
    terminal, heard = await open_in(client, sandbox), set[str]()
    async with client.terminal_attend(sandbox.id, terminal, Visitor(ANN, True, "", "")) as ann:
        await ann.type(b"exit 7\r")
        await asyncio.to_thread(until, lambda: bool(told(sandbox, "closed")), what="it is closed")
        for _ in range(20):
            await ann.type(b"x")
            await asyncio.sleep(0.01)
        async with asyncio.timeout(20):
            while "closed" not in heard:
                heard.add((await ann.next()).header["kind"])


async def test_recordings_outlive_their_sandbox(client: TerminalClient, sandbox: Sandboxed) -> None:
    terminal = await open_in(client, sandbox)
    async with visit(client, sandbox.id, terminal) as ann:
        await ann.line("echo last''words")
        await ann.sees("lastwords")
        await sandbox.terminate()
        await ann.until(lambda: "closed" in ann.heard or ann.error is not None, what="it is over")
    rows = await client.terminal_list(sandbox.id)
    assert [(row.id, row.status) for row in rows] == [(terminal, "closed")]
    assert "lastwords" in str(await cast(client, sandbox, terminal))
    path = sandbox.host.places.recordings / sandbox.id / f"{terminal}.cast"
    assert (path.stat().st_mode & 0o777, path.stat().st_uid) == (0o600, 0)
    assert await client.terminal_list(f"sbx_{ULID()}") == []
    with pytest.raises(HostError, match="no such terminal"):
        await client.terminal_recording(sandbox.id, "../../state", offset=0)


@both
async def test_a_flood_is_paced_and_ctrl_c_overtakes_it(
    client: TerminalClient, sandbox: Sandboxed
) -> None:
    terminal = await open_in(client, sandbox)
    assert sandbox.host.process is not None
    process = psutil.Process(sandbox.host.process.pid)
    async with (
        visit(client, sandbox.id, terminal) as ann,
        visit(client, sandbox.id, terminal, BEN) as ben,
    ):
        ben.slow = True
        before = process.memory_info().rss
        await ann.line("yes")
        await ann.until(lambda: ann.total > 4 * 1024 * 1024, what="sees much")
        assert ben.total < 256 * 1024  # what a dead page is sent, at most
        assert process.memory_info().rss - before < GROWTH
        await ann.attendance.type(b"\x03")
        await ann.line("echo en''ough")
        await ann.sees("\renough")
        await _catches_up(ben)
    until(lambda: "enough" in transcript(sandbox), what="the end is on the timeline")
    outputs = told(sandbox, "output")
    shown, dropped = (sum(e.data.get(name, 0) for e in outputs) for name in ("bytes", "dropped"))
    assert shown < 600 * 1024
    assert shown + dropped == outputs[-1].data["end"]


async def _catches_up(late: Visit) -> None:
    """One that was slow gets the screen as it is, not all that it missed."""
    late.slow = False
    await late.attendance.acknowledge(late.total)
    await late.sees("\renough")
    assert late.heard["screen"]["skipped"] > 0
    assert len(late.shown) < 256 * 1024


async def test_a_full_screen_program_draws_itself_for_who_comes_late(
    client: TerminalClient, sandbox: Sandboxed
) -> None:
    await sandbox.output(f"cat > /workspace/program.sh <<'END'\n{FULL_SCREEN}END\n")
    terminal = await open_in(client, sandbox)
    async with visit(client, sandbox.id, terminal) as ann:
        await ann.line("bash program.sh")
        await ann.sees("frame 4000 of many")
        async with visit(client, sandbox.id, terminal, BEN) as ben:
            await ben.sees("my 24 80 screen")
            assert ben.shown.startswith(b"\x1b[?1049h")


async def test_bad_requests_are_refused_with_a_reason(
    client: TerminalClient, sandbox: Sandboxed
) -> None:
    with pytest.raises(HostError, match="rows"):
        await open_in(client, sandbox, rows=0, columns=80)
    terminal = await open_in(client, sandbox)
    with pytest.raises(HostError, match="another id"):
        request = new_terminal()
        await client.terminal_open(
            sandbox.id, type(request)(terminal, request.size, request.cwd), actor=ANN
        )
    with pytest.raises(HostError, match="working directory"):
        await client.terminal_open(sandbox.id, new_terminal(cwd="/nowhere"), actor=ANN)
    for _ in range(15):
        await open_in(client, sandbox)
    with pytest.raises(HostError) as full:
        await open_in(client, sandbox)
    assert full.value.code == "busy"
    async with visit(client, sandbox.id, terminal) as ann:
        ann.slow = True  # an acknowledgement on its way would meet a connection that is closed
        await ann.attendance.acknowledge(1 << 40)
        assert await ann.fails() == "invalid"


async def test_a_host_that_is_told_to_stop_leaves_them_running(
    client: TerminalClient, sandbox: Sandboxed
) -> None:
    terminal = await open_in(client, sandbox)
    async with visit(client, sandbox.id, terminal) as ann:
        await ann.line("echo pid=$$.")
        await ann.sees("\rpid=")
        pid = ann.shown.split(b"\rpid=")[1].split(b".")[0].decode()
    assert sandbox.host.end(signal.SIGTERM) == 0
    sandbox.host.start()
    async with visit(client, sandbox.id, terminal) as ann:
        await ann.line("echo again=$$.")
        await ann.sees(f"again={pid}.")


@both
async def test_what_starts_as_it_closes_is_hung_up(
    client: TerminalClient, sandbox: Sandboxed
) -> None:
    terminal = await open_in(client, sandbox)
    async with visit(client, sandbox.id, terminal) as ann:
        await ann.line("trap : HUP; while :; do echo rea''dy; sleep 4321; done")
        await ann.sees("ready")
        await client.terminal_close(sandbox.id, terminal, actor=ANN)
        await ann.hears("closed")
    gone = "while pgrep -f 'sleep [4]321'; do sleep 0.05; done"
    assert (await sandbox.exec(gone, timeout_seconds=30)).exit_code == 0
