"""POST /v1/sandboxes/{id}/exec, buffered."""

from __future__ import annotations

from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest
from orkestr import ExecKilled, ExecResult, ExecTimeout, OrkestrError, Sandbox

from sandboxes.api.schemas import ExecOut
from tests.bench.memory import MIB, Growth, watching
from tests.stack import Stack
from tests.waiting import until
from timeline.selectors import events_after


def test_output_and_exit_code_come_back(sandbox: Sandbox) -> None:
    result = sandbox.exec("echo out; echo err >&2; exit 3")
    assert (result.stdout, result.stderr, result.exit_code) == ("out\n", "err\n", 3)
    assert result.duration_ms >= 0


def test_the_answer_is_what_its_description_says(http: httpx.Client, sandbox: Sandbox) -> None:
    answer = http.post(f"/v1/sandboxes/{sandbox.id}/exec", json={"command": "true"})
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    ExecOut.model_validate(answer.json())
    assert set(answer.json()) == {"stdout", "stderr", "exit_code", "duration_ms"}


def test_it_runs_in_workspace_unless_told_otherwise(sandbox: Sandbox) -> None:
    assert sandbox.exec("pwd").stdout == "/workspace\n"
    assert sandbox.exec("pwd", cwd="/tmp").stdout == "/tmp\n"


def test_its_env_goes_over_the_sandboxs_own(sandbox_client: object) -> None:
    with Sandbox.create(template="debian-12", env={"A": "1", "B": "2"}) as sandbox:
        assert sandbox.exec("echo $A$B", env={"B": "3"}).stdout == "13\n"
        assert sandbox.exec("echo $A$B").stdout == "12\n"


def test_state_carries_from_one_to_the_next(sandbox: Sandbox) -> None:
    sandbox.exec("echo 1 > counter")
    assert sandbox.exec("cat counter").stdout == "1\n"


def test_a_shell_as_good_as_the_templates(sandbox: Sandbox) -> None:
    assert sandbox.exec("a=(x y z); echo ${a[1]} | tr y Y").stdout == "Y\n"


def test_one_that_runs_over_is_stopped_and_the_sandbox_lives_on(sandbox: Sandbox) -> None:
    with pytest.raises(ExecTimeout, match="longer than 1 second"):
        sandbox.exec("echo begun | tee log; sleep 60 & sleep 60; wait", timeout_seconds=1)
    assert sandbox.files.read("/workspace/log") == "begun\n"
    until(lambda: sandbox.exec("pgrep -x sleep").exit_code == 1, what="no sleep is left")


def test_what_one_wrote_before_it_ran_over_is_in_the_answer(
    http: httpx.Client, sandbox: Sandbox
) -> None:
    asked = {"command": "echo begun; sleep 60", "timeout_seconds": 1}
    answer = http.post(f"/v1/sandboxes/{sandbox.id}/exec", json=asked)
    body = answer.json()
    assert (answer.status_code, body["code"], body["stdout"]) == (408, "exec_timeout", "begun\n")


def test_death_by_a_signal_is_told_apart(sandbox: Sandbox) -> None:
    with pytest.raises(ExecKilled) as caught:
        sandbox.exec("kill -9 $$")
    assert caught.value.signal == 9
    assert sandbox.exec("sh -c 'kill -9 $$'; echo $?").stdout == "137\n"


def test_output_that_is_no_text_is_replaced_and_nothing_else(sandbox: Sandbox) -> None:
    result = sandbox.exec(r"printf 'a\xff\xfeb\0c\xc3'; printf '\xe2\x82\xac' >&2")
    assert result.stdout == "a\ufffd\ufffdb\x00c\ufffd"
    assert result.stderr == "€"


def test_output_of_megabytes_comes_back_whole(sandbox: Sandbox) -> None:
    result = sandbox.exec("head -c 8000000 /dev/zero | tr '\\0' x")
    assert result.stdout == "x" * 8_000_000


def test_long_output_is_the_same_text_however_it_is_cut(
    http: httpx.Client, sandbox: Sandbox
) -> None:
    line = 'a "quoted\\" \x01 é€😀'.encode()
    written = ((line + b"\xff\xe2\x82\x00\n") * 60_000)[:2_000_003]
    sandbox.files.write("/workspace/packed", b64encode(written).decode())
    asked = {"command": "base64 -d packed > long; cat long; cat long >&2; exit 3"}
    answer = http.post(f"/v1/sandboxes/{sandbox.id}/exec", json=asked)
    body = answer.json()
    assert body["stdout"] == body["stderr"] == written.decode("utf-8", "replace")
    assert body["exit_code"] == 3
    ExecOut.model_validate(body)
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "no-store"


def test_the_longest_answers_are_not_copied_on_their_way(
    stack: Stack, http: httpx.Client, sandbox: Sandbox
) -> None:
    asked = {"command": "head -c 30000000 /dev/zero | tr '\\0' x"}
    growth = Growth(("host", "asgi"), stack.memory)
    for _ in range(3):
        with watching(growth):
            body = http.post(f"/v1/sandboxes/{sandbox.id}/exec", json=asked).json()
        assert body["stdout_dropped"] == 30_000_000 - len(body["stdout"])
    assert growth.of("host") < 56 * MIB
    assert growth.of("asgi") < 56 * MIB


def test_output_beyond_the_ceiling_is_counted(http: httpx.Client, sandbox: Sandbox) -> None:
    asked = {"command": "head -c 20000000 /dev/zero | tr '\\0' x"}
    body = http.post(f"/v1/sandboxes/{sandbox.id}/exec", json=asked).json()
    assert len(body["stdout"]) + body["stdout_dropped"] == 20_000_000
    assert body["exit_code"] == 0


def test_a_command_of_a_megabyte_is_told_to_be_a_file(sandbox: Sandbox) -> None:
    with pytest.raises(OrkestrError, match="write it to a file") as caught:
        sandbox.exec("#" * 1_000_000)
    assert caught.value.status_code == 422
    assert sandbox.exec(f"true {'x' * 90_000}; echo fine").stdout == "fine\n"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"command": ""}, "command"),
        ({"command": "a\x00b"}, "NUL"),
        ({"command": 5}, "command"),
        ({"command": None}, "command"),
        ({"cwd": "workspace"}, "cwd"),
        ({"cwd": "/a\x00"}, "cwd"),
        ({"cwd": "/" + "n" * 4096}, "cwd"),
        ({"env": {"A=": "x"}}, "env"),
        ({"env": {"A": "\x00"}}, "NUL"),
        ({"timeout_seconds": 0}, "timeout_seconds"),
        ({"timeout_seconds": -1}, "timeout_seconds"),
        ({"timeout_seconds": 1e9}, "timeout_seconds"),
        ({"stream": "yes"}, "stream"),
        ({"shell": "zsh"}, "shell is not a field"),
    ],
)
def test_what_makes_no_sense_is_told_in_a_sentence(
    http: httpx.Client, sandbox: Sandbox, change: dict[str, object], says: str
) -> None:
    answer = http.post(f"/v1/sandboxes/{sandbox.id}/exec", json={"command": "true", **change})
    assert answer.status_code == 422
    assert says in answer.json()["detail"]


def test_a_directory_that_is_not_there_is_told(http: httpx.Client, sandbox: Sandbox) -> None:
    asked = {"command": "true", "cwd": "/nowhere"}
    answer = http.post(f"/v1/sandboxes/{sandbox.id}/exec", json=asked)
    assert 400 <= answer.status_code < 500 or answer.json()["exit_code"] != 0


def test_a_caller_who_goes_away_does_not_stop_the_command(
    http: httpx.Client, sandbox: Sandbox
) -> None:
    asked = {"command": "touch begun; sleep 2; touch finished"}
    with pytest.raises(httpx.ReadTimeout):
        http.post(f"/v1/sandboxes/{sandbox.id}/exec", json=asked, timeout=1)
    until(lambda: sandbox.files.exists("/workspace/finished"), what="it went on to its end")


def test_a_command_is_on_the_timeline(sandbox: Sandbox) -> None:
    sandbox.exec("echo hello", env={"SECRET": "hunter2"})

    def spans() -> list[str]:
        return [event.kind for event in events_after(sandbox_id=sandbox.id) if event.span]

    until(lambda: "command.exited" in spans(), what="the command is stored")
    assert spans() == ["command.started", "command.output", "command.exited"]
    stored = events_after(sandbox_id=sandbox.id)
    assert stored[2].data["env_names"] == ["SECRET"]
    assert stored[2].actor.type == "token"
    assert "hunter2" not in str(stored)


def test_twenty_at_once_do_not_mix(sandbox: Sandbox) -> None:
    def echo(number: int) -> str:
        result = sandbox.exec(f"for i in 1 2 3; do echo {number}; done")
        assert isinstance(result, ExecResult)
        return str(result.stdout)

    with ThreadPoolExecutor(20) as pool:
        assert list(pool.map(echo, range(20))) == [f"{n}\n" * 3 for n in range(20)]
