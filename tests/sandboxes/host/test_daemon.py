"""The host through its socket: what callers get, what is recorded, what is left."""

from __future__ import annotations

import asyncio
import os
import socket
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from sandboxes.host import wire
from sandboxes.host.client import HostClient
from sandboxes.host.types import HostError
from tests.sandboxes.host.hosting import (
    ACTOR,
    HostProcess,
    Make,
    Sandboxed,
    both,
    command,
    new_spec,
)
from tests.waiting import until
from timeline.events import SYSTEM


async def test_it_creates_runs_and_terminates(host: HostProcess) -> None:
    spec = new_spec(env={"GREETING": "hello"}, metadata={"purpose": "test"})
    created = await host.client.create(spec, actor=ACTOR)
    assert created.boot_ms > 0
    assert spec.sandbox_id in await host.client.sandboxes()
    outcome = await host.client.exec(
        spec.sandbox_id, command('echo "$GREETING"; echo oops >&2; exit 3'), actor=ACTOR
    )
    assert (outcome.stdout, outcome.stderr, outcome.exit_code) == (b"hello\n", b"oops\n", 3)
    await host.client.terminate(spec.sandbox_id, actor=ACTOR, reason="requested")
    assert spec.sandbox_id not in await host.client.sandboxes()


async def test_it_records_a_sandbox_from_its_first_event_to_its_last(host: HostProcess) -> None:
    spec = new_spec(env={"B_KEY": "1", "A_KEY": "2"}, metadata={"k": "v"})
    await host.client.create(spec, actor=ACTOR)
    await host.client.exec(spec.sandbox_id, command("echo one"), actor=ACTOR)
    await host.client.terminate(spec.sandbox_id, actor=SYSTEM, reason="expired")
    last = host.until_event(spec.sandbox_id, "sandbox.terminated")
    events = host.events(spec.sandbox_id)
    assert [event.kind for event in events] == [
        "sandbox.created",
        "sandbox.running",
        "command.started",
        "command.output",
        "command.exited",
        "sandbox.terminated",
    ]
    assert events[0].actor == ACTOR
    assert events[0].data == {
        "template": "debian-12",
        "size": "small",
        "cpu": 1.0,
        "memory_mb": 256,
        "disk_mb": 128,
        "network": "off",
        "isolation": "runc",
        "timeout_seconds": 600,
        "on_timeout": "kill",
        "env_names": ["A_KEY", "B_KEY"],
        "metadata": {"k": "v"},
        "expires_at": "2030-01-01T00:00:00+00:00",
    }
    assert events[1].data["boot_ms"] > 0
    assert (last.data, last.actor) == ({"reason": "expired"}, SYSTEM)


async def test_it_ends_what_runs_when_it_terminates(host: HostProcess) -> None:
    spec = new_spec()
    await host.client.create(spec, actor=ACTOR)
    running = asyncio.ensure_future(
        host.client.exec(spec.sandbox_id, command("echo begun; sleep 600"), actor=ACTOR)
    )
    await asyncio.to_thread(host.until_event, spec.sandbox_id, "command.output")
    await host.client.terminate(spec.sandbox_id, actor=ACTOR, reason="requested")
    host.until_event(spec.sandbox_id, "sandbox.terminated")
    kinds = [event.kind for event in host.events(spec.sandbox_id)]
    assert kinds[-2:] == ["command.exited", "sandbox.terminated"]
    outcome = (await asyncio.gather(running, return_exceptions=True))[0]
    if isinstance(outcome, BaseException):
        assert isinstance(outcome, HostError), outcome
    else:
        assert outcome.signal == 9, outcome


async def test_it_terminates_twice_and_what_it_never_knew(host: HostProcess) -> None:
    spec = new_spec()
    await host.client.create(spec, actor=ACTOR)
    ends = [
        host.client.terminate(spec.sandbox_id, actor=ACTOR, reason="requested") for _ in range(3)
    ]
    await asyncio.gather(*ends)
    await host.client.terminate(new_spec().sandbox_id, actor=ACTOR, reason="requested")
    host.until_event(spec.sandbox_id, "sandbox.terminated")
    kinds = [event.kind for event in host.events(spec.sandbox_id)]
    assert kinds.count("sandbox.terminated") == 1


async def test_it_says_that_a_sandbox_ended_and_that_another_never_was(
    host: HostProcess, sandbox: Sandboxed
) -> None:
    await sandbox.terminate()
    with pytest.raises(HostError) as ended:
        await sandbox.exec("true")
    assert ended.value.code == "not_running"
    with pytest.raises(HostError) as never:
        await host.client.exec(new_spec().sandbox_id, command("true"), actor=ACTOR)
    assert never.value.code == "not_found"


@both
async def test_it_leaves_no_trace_of_terminated_sandboxes(
    host: HostProcess, isolation: str
) -> None:
    specs = [new_spec(disk_mb=96, isolation=isolation) for _ in range(4)]
    await asyncio.gather(*(host.client.create(spec, actor=ACTOR) for spec in specs))
    pids = [host.init_pid(spec.sandbox_id) for spec in specs]
    slots = {path.name for path in host.places.slots.iterdir()}
    for spec in specs:
        await host.client.terminate(spec.sandbox_id, actor=ACTOR, reason="requested")
    assert not [pid for pid in pids if is_running(pid)]

    def gone() -> bool:
        left = {path.name for path in host.places.slots.iterdir()}
        return len(slots - left) >= len(specs)

    until(gone, what="their slots are removed")


async def test_it_takes_no_sandbox_twice(host: HostProcess) -> None:
    spec = new_spec()
    answers = await asyncio.gather(
        *(host.client.create(spec, actor=ACTOR) for _ in range(4)), return_exceptions=True
    )
    refusals = [answer for answer in answers if isinstance(answer, HostError)]
    assert [refusal.code for refusal in refusals] == ["invalid"] * 3
    await host.client.terminate(spec.sandbox_id, actor=ACTOR, reason="requested")


@pytest.mark.parametrize(
    ("changes", "code"),
    [
        ({"template": "windows-11"}, "template_unavailable"),
        ({"sandbox_id": "../../etc"}, "invalid"),
        ({"memory_mb": 0}, "invalid"),
        ({"cpu": -1}, "invalid"),
        ({"network": "carrier-pigeon"}, "invalid"),
        ({"env": {"A": "nul\0"}}, "invalid"),
        ({"pids": True}, "invalid"),
    ],
)
async def test_it_refuses_what_it_cannot_make(
    host: HostProcess, changes: dict[str, object], code: str
) -> None:
    with pytest.raises(HostError) as refusal:
        await host.client.create(new_spec(**changes), actor=ACTOR)
    assert refusal.value.code == code
    assert refusal.value.message.endswith(".")


async def test_it_creates_many_at_once(host: HostProcess) -> None:
    specs = [new_spec() for _ in range(12)]
    await asyncio.gather(*(host.client.create(spec, actor=ACTOR) for spec in specs))
    outcomes = await asyncio.gather(
        *(
            host.client.exec(spec.sandbox_id, command(f"echo {spec.sandbox_id}"), actor=ACTOR)
            for spec in specs
        )
    )
    assert [outcome.stdout.decode().strip() for outcome in outcomes] == [
        spec.sandbox_id for spec in specs
    ]
    for spec in specs:
        await host.client.terminate(spec.sandbox_id, actor=ACTOR, reason="requested")


@both
async def test_it_streams_and_goes_on_when_the_caller_leaves(sandbox: Sandboxed) -> None:
    stream = sandbox.host.client.exec_stream(
        sandbox.id, command("echo first; read < /tmp/gate; echo done > /tmp/done"), actor=ACTOR
    )
    await sandbox.output("mkfifo /tmp/gate")
    seen = [await anext(stream), await anext(stream)]
    await stream.aclose()  # type: ignore[attr-defined]
    assert [type(event).__name__ for event in seen] == ["Started", "Chunk"]
    await sandbox.output("echo go > /tmp/gate")
    await sandbox.output("until grep -q done /tmp/done; do sleep 0.05; done 2>/dev/null")


@both
async def test_it_serves_files(sandbox: Sandboxed) -> None:
    client, path = sandbox.host.client, "/workspace/deep/data.bin"
    content = bytes(range(256)) * 100
    assert await client.write_file(sandbox.id, path, content, mode=0o640, actor=ACTOR) == 25600
    found = await client.read_path(sandbox.id, path, actor=ACTOR)
    assert getattr(found, "content", None) == content
    listing = await client.read_path(sandbox.id, "/workspace/deep", actor=ACTOR)
    assert [entry.name for entry in getattr(listing, "entries", [])] == ["data.bin"]
    await client.move(sandbox.id, path, "/tmp/moved", actor=ACTOR)
    assert (await client.stat(sandbox.id, "/tmp/moved", actor=ACTOR)).mode & 0o777 == 0o640
    await client.delete_file(sandbox.id, "/tmp/moved", actor=ACTOR)
    assert not (await client.stat(sandbox.id, "/tmp/moved", actor=ACTOR)).exists
    await client.make_dir(sandbox.id, "/workspace/a/b", parents=True, actor=ACTOR)
    assert (await client.stat(sandbox.id, "/workspace/a/b", actor=ACTOR)).is_dir


def is_running(pid: int) -> bool:
    return Path(f"/proc/{pid}/exe").exists()


def speak(host: HostProcess, data: bytes) -> bytes:
    """Send bytes as a caller that may be anything; whatever comes back."""
    with socket.socket(socket.AF_UNIX) as caller:
        caller.settimeout(10)
        caller.connect(str(host.socket))
        try:
            caller.sendall(data)
            caller.shutdown(socket.SHUT_WR)
            answer = b""
            while part := caller.recv(65536):
                answer += part
        except ConnectionError:
            return b""
    return answer


@pytest.mark.parametrize(
    "garbage",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"\xff" * 64,
        struct.pack("<II", wire.HEADER_LIMIT + 1, 0),
        struct.pack("<II", 4, wire.PAYLOAD_LIMIT + 1) + b"null",
        struct.pack("<II", 4, 0) + b"null",
        struct.pack("<II", 100, 0) + b"{}",
        b"\0",
    ],
)
async def test_garbage_from_a_caller_harms_nobody(host: HostProcess, garbage: bytes) -> None:
    assert speak(host, garbage) == b""
    assert (await host.client.ping())["version"]


@pytest.mark.parametrize(
    "header",
    [
        {},
        {"op": 7},
        {"op": "format"},
        {"op": "exec", "sandbox_id": 1},
        {"op": "exec", "sandbox_id": "sbx_" + "0" * 26, "request": []},
        {"op": "create", "spec": {"sandbox_id": "x"}},
        {"op": "create", "spec": None},
        {"op": "terminate", "sandbox_id": "sbx_" + "0" * 26, "reason": "spite"},
        {"op": "sandboxes", "actor": "me", "more": [[[]]]},
    ],
)
async def test_a_wrong_request_is_answered_with_a_sentence(
    host: HostProcess, header: dict[str, object]
) -> None:
    answer = speak(host, wire.pack(header))
    if header.get("op") == "sandboxes":
        assert b'"ok":true' in answer
        return
    assert b'"error"' in answer
    assert b'"internal"' not in answer


def test_it_serves_nobody_but_root_and_the_service(host: HostProcess) -> None:
    program = (
        "import os, socket, sys; s = socket.socket(socket.AF_UNIX); s.connect(sys.argv[1]);"
        "s.sendall(bytes.fromhex(sys.argv[2])); print(s.recv(4096))"
    )
    request = wire.pack({"op": "ping"}).hex()
    host.folder.chmod(0o755)
    host.socket.chmod(0o666)
    done = subprocess.run(
        [sys.executable, "-c", program, str(host.socket), request],
        capture_output=True,
        text=True,
        timeout=20,
        user=65534,
        check=True,
    )
    assert "not_permitted" in done.stdout


async def test_a_host_that_is_not_there_is_said_to_be_unreachable(host: HostProcess) -> None:
    with pytest.raises(HostError) as error:
        await HostClient(str(host.folder / "nobody.sock")).ping()
    assert error.value.code == "host_unreachable"


async def test_a_wedged_sandbox_holds_up_no_other(host: HostProcess, make_sandbox: Make) -> None:
    wedged, other = await make_sandbox(), await make_sandbox()
    os.kill(host.init_pid(wedged.id), 19)
    stuck = asyncio.ensure_future(wedged.exec("true"))
    assert await other.output("echo fine") == "fine\n"
    assert not stuck.done()
    await wedged.terminate()
    with pytest.raises(HostError):
        await stuck


async def test_a_second_host_on_the_same_folder_says_no(host: HostProcess) -> None:
    done = host.run("serve")
    assert done.returncode == 1
    assert "Another sandbox host uses" in done.stderr
