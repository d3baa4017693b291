"""POST /v1/sandboxes/{id}/exec with ``stream``."""

from __future__ import annotations

import base64
import json
from typing import Any

import httpx
import pytest
from orkestr import ExecKilled, ExecTimeout, Sandbox

from tests.waiting import until


def frames(http: httpx.Client, sandbox: Sandbox, command: str, **more: object) -> list[Any]:
    asked = {"command": command, "stream": True, **more}
    with http.stream("POST", f"/v1/sandboxes/{sandbox.id}/exec", json=asked) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        return [json.loads(line[5:]) for line in answer.iter_lines() if line.startswith("data:")]


def test_the_frames_are_those_of_the_wire(http: httpx.Client, sandbox: Sandbox) -> None:
    first, *chunks, last = frames(http, sandbox, "echo out; echo err >&2; exit 4")
    assert first["kind"] == "exec_started"
    assert first["pid"] > 0
    output = {"stdout": b"", "stderr": b""}
    for chunk in chunks:
        assert chunk["kind"] == "exec_chunk"
        output[chunk["stream"]] += base64.b64decode(chunk["data"])
    assert output == {"stdout": b"out\n", "stderr": b"err\n"}
    assert (last["kind"], last["code"]) == ("exec_exited", 4)


def test_chunks_come_as_they_are_written(sandbox: Sandbox) -> None:
    stream = sandbox.exec_stream("echo ready; until [ -e go ]; do sleep 0.01; done; echo went")
    assert next(stream).data == "ready\n"
    sandbox.files.write("/workspace/go", "")
    rest = list(stream)
    assert "".join(chunk.data for chunk in rest) == "went\n"
    assert rest[-1].exit_code == 0


def test_every_byte_is_kept_even_where_it_is_no_text(http: httpx.Client, sandbox: Sandbox) -> None:
    got = frames(http, sandbox, "head -c 300000 /dev/urandom | tee random")
    data = b"".join(base64.b64decode(one["data"]) for one in got if one["kind"] == "exec_chunk")
    assert data == sandbox.files.read_bytes("/workspace/random")


def test_one_that_runs_over_ends_with_its_error(sandbox: Sandbox) -> None:
    seen = []
    with pytest.raises(ExecTimeout):
        for chunk in sandbox.exec_stream("echo begun; sleep 60", timeout_seconds=1):
            seen.append(chunk.data)
    assert seen == ["begun\n"]
    assert sandbox.exec("echo alive").stdout == "alive\n"


def test_death_by_a_signal_is_told_apart(sandbox: Sandbox) -> None:
    with pytest.raises(ExecKilled) as caught:
        list(sandbox.exec_stream("kill -TERM $$"))
    assert caught.value.signal == 15


def test_breaking_off_leaves_it_running(sandbox: Sandbox) -> None:
    for _ in sandbox.exec_stream("echo begun; sleep 1; touch finished"):
        break
    until(lambda: sandbox.files.exists("/workspace/finished"), what="it went on to its end")


def test_what_keeps_it_from_starting_is_an_error_of_the_request(
    http: httpx.Client, sandbox: Sandbox
) -> None:
    asked = {"command": "", "stream": True}
    answer = http.post(f"/v1/sandboxes/{sandbox.id}/exec", json=asked)
    assert (answer.status_code, answer.headers["Content-Type"]) == (422, "application/json")


def test_silence_is_broken_by_signs_of_life(http: httpx.Client, sandbox: Sandbox) -> None:
    asked = {"command": "sleep 16", "stream": True}
    with http.stream("POST", f"/v1/sandboxes/{sandbox.id}/exec", json=asked) as answer:
        assert ": keep-alive" in list(answer.iter_lines())
