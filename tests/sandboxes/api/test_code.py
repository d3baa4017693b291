"""/v1/sandboxes/{id}/code, by the official client."""

from __future__ import annotations

import json
import time

import httpx
import pytest
from orkestr import InterpreterUnavailable, Sandbox, SandboxNotFound, SandboxNotReady
from orkestr._client import OrkestrClient
from orkestr.sandbox import CodeExecution

from tests.stack import Stack
from tests.waiting import until
from timeline.events import Event, Kind
from timeline.selectors import events_after

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def code(sandbox_client: OrkestrClient) -> Sandbox:
    """A sandbox with the interpreter; it ends with the test."""
    return Sandbox.create(template="code-interpreter", client=sandbox_client)


def events_of(sandbox: Sandbox) -> list[Event]:
    found = events_after(sandbox_id=sandbox.id, after=0, kinds=[], limit=1000)
    return [event for event in found if event.family == "code"]


def clean(done: CodeExecution) -> CodeExecution:
    assert done.error is None, done.error
    assert not (done.interrupted or done.restarted or done.truncated), done
    return done


def test_a_value_comes_back_and_what_a_cell_leaves_is_there_for_the_next(code: Sandbox) -> None:
    first = clean(code.run_code("import math\nx = 20\nprint('set')\nx + 1"))
    assert (first.text, first.stdout, first.stderr) == ("21", "set\n", "")
    assert (first.context_id, first.execution_count) == ("default", 1)
    second = clean(code.run_code("x * 2\nx * 3"))
    assert [one.text for one in second.results] == ["60"]
    assert second.execution_count == 2
    assert clean(code.run_code("y = x")).results == []
    shell = clean(code.run_code("!echo from a shell >&2\nimport os; os.system('echo from C')"))
    assert (shell.stdout, shell.stderr) == ("from C\n", "from a shell\n")
    assert clean(code.run_code("await __import__('asyncio').sleep(0, 'waited')")).text == "'waited'"


def test_tables_figures_and_data_come_back_rich(code: Sandbox) -> None:
    table = clean(code.run_code("import pandas as pd\npd.DataFrame({'city': ['Brno']})"))
    (frame,) = table.results
    assert frame.type == "html"
    assert "<td>Brno</td>" in (frame.html or "")
    assert "Brno" in (frame.text or "")
    plot = clean(code.run_code("import matplotlib.pyplot as plt\nplt.plot([1, 3]);"))
    (figure,) = plot.results
    assert figure.type == "image_png"
    assert (figure.png_bytes() or b"").startswith(PNG)
    shown = clean(
        code.run_code(
            "from IPython.display import JSON, HTML, display\n"
            "display(HTML('<b>bold</b>'))\nJSON({'deep': [1, None]})"
        )
    )
    assert [one.type for one in shown.results] == ["html", "json"]
    assert shown.results[1].json == {"deep": [1, None]}


def test_an_exception_is_data_and_state_up_to_it_is_kept(code: Sandbox) -> None:
    done = code.run_code("kept = 1\nprint('before')\n1 / 0\nkept = 2")
    assert done.error is not None
    assert (done.error.name, done.error.value) == ("ZeroDivisionError", "division by zero")
    assert done.error.traceback[-1] == "ZeroDivisionError: division by zero"
    assert done.stdout == "before\n"
    assert clean(code.run_code("kept")).text == "1"
    broken = code.run_code("if x = 1:")
    assert broken.error is not None
    assert broken.error.name == "SyntaxError"
    asked = code.run_code("input('name? ')")
    assert asked.error is not None
    assert "nobody to ask" in asked.error.value


def test_a_stream_tells_it_as_it_happens(code: Sandbox) -> None:
    source = (
        "import os, time\nprint('ready')\n"
        "while not os.path.exists('go'): time.sleep(0.01)\n"
        "display('shown')\n1 / 0"
    )
    stream = code.run_code_stream(source)
    first = next(stream)
    assert (first.kind, first.stream, first.text) == ("stream", "stdout", "ready\n")
    code.files.write("/workspace/go", "")
    rest = list(stream)
    assert [event.kind for event in rest] == ["result", "error", "done"]
    assert rest[0].result is not None
    assert rest[0].result.text == "'shown'"
    assert rest[1].error is not None
    assert rest[1].error.name == "ZeroDivisionError"
    done = rest[2].execution
    assert done is not None
    assert (done.stdout, done.error, done.results) == ("ready\n", rest[1].error, [rest[0].result])


def test_a_cell_whose_time_is_over_is_interrupted_and_its_context_lives_on(code: Sandbox) -> None:
    clean(code.run_code("kept = 5\nimport time"))
    for slow in ("print('begun')\ntime.sleep(60)", "print('begun')\n!sleep 60"):
        done = code.run_code(slow, timeout_seconds=1)
        assert done.interrupted
        assert not done.restarted
        assert done.stdout == "begun\n"
        assert done.error is not None
        assert done.error.name == "KeyboardInterrupt"
    assert clean(code.run_code("kept")).text == "5"


def test_one_that_ignores_that_loses_its_kernel_and_is_told_so(code: Sandbox) -> None:
    clean(code.run_code("kept = 5\nimport time"))
    stubborn = "while True:\n    try: time.sleep(60)\n    except KeyboardInterrupt: pass"
    began = time.monotonic()
    done = code.run_code(stubborn, timeout_seconds=1)
    assert 3 <= time.monotonic() - began < 20
    assert (done.interrupted, done.restarted) == (True, True)
    assert done.error is not None
    assert done.error.name == "KernelRestarted"
    assert clean(code.run_code("'kept' in globals()")).text == "False"


def test_a_kernel_that_dies_is_told_and_the_next_call_has_a_new_one(code: Sandbox) -> None:
    clean(code.run_code("kept = 5"))
    done = code.run_code("print('last words', flush=True)\nimport os; os._exit(3)")
    assert done.error is not None
    assert done.error.name == "KernelDied"
    assert "exit code 3" in done.error.value
    (context,) = code.code_contexts()
    assert not context.alive
    after = code.run_code("'kept' in globals()")
    assert (after.text, after.restarted, after.error) == ("False", True, None)
    assert not code.run_code("1").restarted
    left = code.run_code("print('bye')\nexit()")
    assert (left.stdout, left.error) == ("bye\n", None)
    assert code.run_code("1").restarted
    hungry = code.run_code("x = []\nwhile True: x.append(bytearray(2**24))")
    assert hungry.error is not None
    assert hungry.error.name in {"KernelDied", "MemoryError"}
    assert code.run_code("2").text == "2"
    died = [one for one in events_of(code) if one.data.get("what") == "died"]
    assert "exit code 3" in died[0].data["detail"]


def test_contexts_have_their_own_variables_and_folder(code: Sandbox) -> None:
    assert code.code_contexts() == []
    code.files.mkdir("/workspace/own")
    one, two = code.create_code_context(cwd="/workspace/own"), code.create_code_context()
    assert one.id.startswith("ctx_")
    assert (one.cwd, two.cwd, one.language, one.alive) == (
        "/workspace/own",
        "/workspace",
        "python",
        True,
    )
    assert clean(one.run_code("x = 1\nimport os; os.getcwd()")).text == "'/workspace/own'"
    assert clean(two.run_code("'x' in globals()")).text == "False"
    assert clean(code.run_code("'x' in globals()", context_id=two.id)).context_id == two.id
    clean(code.run_code("1"))
    listed = {each.id: each for each in code.code_contexts()}
    assert list(listed) == [one.id, two.id, "default"]
    assert (listed[two.id].executions, listed[one.id].last_used_at is None) == (2, False)
    assert one.restart().id == one.id
    assert clean(one.run_code("'x' in globals()")).text == "False"
    one.remove()
    assert [each.id for each in code.code_contexts()] == [two.id, "default"]
    for ask in (one.restart, one.remove, lambda: one.run_code("1")):
        with pytest.raises(SandboxNotFound) as caught:
            ask()
        assert "context" in str(caught.value)


def test_a_ninth_context_and_a_folder_that_is_not_there_are_refused(
    code: Sandbox, http: httpx.Client
) -> None:
    with pytest.raises(SandboxNotFound):
        code.create_code_context(cwd="/nowhere")
    made = [code.create_code_context() for _ in range(8)]
    with pytest.raises(SandboxNotReady) as caught:
        code.create_code_context()
    assert "remove one" in str(caught.value)
    made[0].remove()
    clean(code.run_code("1"))
    address = f"/v1/sandboxes/{code.id}/code"
    for body in (
        {"code": " "},
        {"code": "1", "language": "r"},
        {"code": "1", "timeout_seconds": 0},
        {"code": "x" * (2**20 + 1)},
        {"code": "1", "surprise": 1},
        {},
    ):
        assert http.post(address, json=body).status_code == 422, body
    stream = {"code": "1", "stream": True, "context_id": "ctx_none"}
    answer = http.post(address, json=stream)
    assert (answer.status_code, answer.json()["code"]) == (404, "no_such_context")


def test_other_templates_have_no_interpreter(sandbox: Sandbox, http: httpx.Client) -> None:
    with pytest.raises(InterpreterUnavailable) as caught:
        sandbox.run_code("1")
    assert "code-interpreter" in str(caught.value)
    with pytest.raises(InterpreterUnavailable):
        list(sandbox.run_code_stream("1"))
    with pytest.raises(InterpreterUnavailable):
        sandbox.create_code_context()
    answer = http.get(f"/v1/sandboxes/{sandbox.id}/code/contexts")
    assert (answer.status_code, answer.json()["code"]) == (409, "interpreter_unavailable")


def test_variables_live_through_a_pause_and_its_time_does_not_count(
    sandbox_client: OrkestrClient,
) -> None:
    code = Sandbox.create(template="code-interpreter", auto_resume=True, client=sandbox_client)
    clean(code.run_code("kept = 7\nimport os, time"))
    stream = code.run_code_stream(
        "print('on')\nwhile not os.path.exists('go'): time.sleep(0.05)\nkept", timeout_seconds=4
    )
    assert next(stream).text == "on\n"
    code.pause()
    began = time.monotonic()
    until(lambda: time.monotonic() - began > 5, what="more than its time has passed")
    code.files.write("/workspace/go", "")
    rest = list(stream)
    assert [event.kind for event in rest] == ["result", "done"]
    code.pause()
    assert clean(code.run_code("kept + 1")).text == "8"
    code.terminate()
    with pytest.raises(SandboxNotReady):
        code.run_code("1")


def test_a_paused_one_without_auto_resume_says_so(code: Sandbox) -> None:
    code.pause()
    with pytest.raises(SandboxNotReady) as caught:
        code.run_code("1")
    assert "resume it first" in str(caught.value)


def test_a_killed_host_loses_neither_variables_nor_a_running_cell(
    stack: Stack, code: Sandbox
) -> None:
    clean(code.run_code("kept = 9\nimport os, time"))
    stream = code.run_code_stream(
        "for n in range(60):\n    print('line', n)\n    time.sleep(0.05)\n"
        "from IPython.display import HTML\ndisplay(HTML('<p>' + 'x' * 3_000_000))\nkept"
    )
    assert next(stream).text is not None
    stack.kill("host")
    stack.start("host")
    assert clean(code.run_code("kept")).text == "9"
    (context,) = code.code_contexts()
    assert (context.alive, context.executions) == (True, 3)
    until(
        lambda: sum(one.kind == Kind.CODE_DONE for one in events_of(code)) == 3, what="all is told"
    )
    events = [one for one in events_of(code) if one.span]
    span = next(one.span for one in events if "range(60)" in str(one.data.get("code")))
    mine = [one for one in events if one.span == span]
    text = "".join(one.data["text"] for one in mine if one.kind == Kind.CODE_OUTPUT)
    assert text == "".join(f"line {n}\n" for n in range(60))
    assert [one.kind for one in mine if one.kind != Kind.CODE_OUTPUT] == [
        Kind.CODE_RUN,
        Kind.CODE_RESULT,
        Kind.CODE_RESULT,
        Kind.CODE_DONE,
    ]


def test_output_is_capped_and_says_so(code: Sandbox) -> None:
    done = code.run_code("print('y' * 6_000_000)\nfor n in range(100): display(n)\n'end'")
    assert len(done.stdout) == 4 * 1024 * 1024
    assert len(done.results) == 64
    assert done.truncated == ["stdout", "results"]


def test_the_timeline_has_it_masked(sandbox_client: OrkestrClient) -> None:
    secret = "hunter2-hunter2"
    code = Sandbox.create(template="code-interpreter", env={"KEY": secret}, client=sandbox_client)
    done = clean(code.run_code("import os\nprint(os.environ['KEY'])\nos.environ['KEY']"))
    assert done.stdout == f"{secret}\n"
    raised = code.run_code(f"raise ValueError('{secret}')")
    assert raised.error is not None
    assert raised.error.value == secret
    until(lambda: sum(one.kind == Kind.CODE_DONE for one in events_of(code)) == 2, what="told")
    events = events_of(code)
    assert secret not in json.dumps([one.data for one in events])
    kinds = [one.kind for one in events]
    assert kinds == [
        Kind.CODE_CONTEXT,
        *(Kind.CODE_RUN, Kind.CODE_OUTPUT, Kind.CODE_RESULT, Kind.CODE_DONE),
        *(Kind.CODE_RUN, Kind.CODE_ERROR, Kind.CODE_DONE),
    ]
    assert events[2].data["text"] == "[masked]\n"
    assert events[4].data["status"] == "ok"
    assert events[7].data["status"] == "error"
    assert events[5].data["code"] == "raise ValueError('[masked]')"
