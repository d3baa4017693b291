"""/v1/sandboxes/{id}/commands, by the official client."""

from __future__ import annotations

import httpx
import pytest
from orkestr import BackgroundCommand, ExecKilled, ExecTimeout, Sandbox, SandboxNotFound
from orkestr._client import OrkestrClient

from tests.stack import Stack
from tests.waiting import until
from timeline.events import Kind
from timeline.render import render_rows
from timeline.selectors import events_after


def start(sandbox: Sandbox, command: str) -> BackgroundCommand:
    handle = sandbox.exec(command, background=True)
    assert isinstance(handle, BackgroundCommand)
    return handle


def whole(handle: BackgroundCommand) -> str:
    """All output, read as the client's documentation says to."""
    text, offset = "", 0
    while True:
        part = handle.logs(offset=offset)
        text += part.content
        offset += len(part.content.encode())
        if not part.truncated:
            assert offset == part.size
            return str(text)


def runs(sandbox: Sandbox, group: str) -> bool:
    """Whether anything is left of a process group."""
    done = sandbox.exec(f"kill -0 -- -{group} 2>/dev/null && echo yes || echo no")
    return bool(done.stdout == "yes\n")


def test_it_answers_at_once_and_goes_on(sandbox: Sandbox) -> None:
    handle = start(sandbox, "until [ -e go ]; do sleep 0.01; done; echo went; exit 3")
    assert (handle.status, handle.exit_code) == ("running", None)
    assert handle.pid
    assert handle.started_at
    assert handle.refresh().status == "running"
    sandbox.files.write("/workspace/go", "")
    assert handle.wait(poll_seconds=0.05, timeout=30) == 3
    assert (handle.status, handle.pid) == ("exited", None)
    assert whole(handle) == "went\n"


def test_it_takes_a_folder_and_variables(sandbox: Sandbox) -> None:
    handle = sandbox.exec("echo $WORD in $PWD", cwd="/tmp", env={"WORD": "here"}, background=True)
    assert isinstance(handle, BackgroundCommand)
    handle.wait(poll_seconds=0.05, timeout=30)
    assert handle.logs().content == "here in /tmp\n"


def test_the_list_has_every_one_and_no_other_command(sandbox: Sandbox) -> None:
    handles = [start(sandbox, f"sleep {n}") for n in (0, 100)]
    sandbox.exec("true")
    handles[0].wait(poll_seconds=0.05, timeout=30)
    listed = sandbox.commands()
    assert [one.id for one in listed] == [one.id for one in handles]
    assert [(one.command, one.status) for one in listed] == [
        ("sleep 0", "exited"),
        ("sleep 100", "running"),
    ]


def test_kill_ends_the_whole_process_group(sandbox: Sandbox) -> None:
    handle = start(sandbox, "echo $$ > group; sleep 1000 & sleep 1000 | cat")
    until(lambda: sandbox.files.exists("/workspace/group"), what="it has begun")
    group = sandbox.files.read("/workspace/group").strip()
    assert runs(sandbox, group)
    handle.kill()
    assert (handle.status, handle.exit_code, handle.pid) == ("killed", None, None)
    until(lambda: not runs(sandbox, group), what="nothing of it is left")


def test_one_that_does_not_mind_term_is_killed_for_good(sandbox: Sandbox) -> None:
    script = "trap '' TERM; echo $$ > group; while :; do sleep 0.1; done"
    handle = start(sandbox, script)
    until(lambda: sandbox.files.exists("/workspace/group"), what="it has begun")
    handle.kill()
    assert handle.status == "killed"
    group = sandbox.files.read("/workspace/group").strip()
    until(lambda: not runs(sandbox, group), what="nothing of it is left")


def test_one_that_ends_cleanly_when_asked_was_killed_all_the_same(sandbox: Sandbox) -> None:
    handle = start(sandbox, "trap 'exit 0' TERM; touch ready; while :; do sleep 0.05; done")
    until(lambda: sandbox.files.exists("/workspace/ready"), what="it has begun")
    handle.kill()
    assert (handle.status, handle.exit_code) == ("killed", None)


def test_kill_is_idempotent_and_changes_no_end(sandbox: Sandbox) -> None:
    ended = start(sandbox, "exit 5")
    ended.wait(poll_seconds=0.05, timeout=30)
    ended.kill()
    assert (ended.status, ended.exit_code) == ("exited", 5)
    running = start(sandbox, "sleep 1000")
    running.kill()
    running.kill()
    assert running.status == "killed"


def test_death_by_a_signal_is_killed(sandbox: Sandbox) -> None:
    handle = start(sandbox, "kill -SEGV $$")
    assert handle.wait(poll_seconds=0.05, timeout=30) is None
    assert handle.status == "killed"


def test_an_unknown_one_is_not_found(http: httpx.Client, sandbox: Sandbox) -> None:
    handle = start(sandbox, "true")
    handle.id = "cmd_" + "0" * 26
    for ask in (handle.refresh, handle.kill, handle.logs, lambda: list(handle.stream())):
        with pytest.raises(SandboxNotFound) as caught:
            ask()
        assert "background command" in str(caught.value)
    foreground = "cmd_%00/../..%ff"
    answer = http.get(f"/v1/sandboxes/{sandbox.id}/commands/{foreground}")
    assert answer.status_code == 404


def test_what_cannot_start_is_told(http: httpx.Client, sandbox: Sandbox) -> None:
    body = {"command": "true", "cwd": "/nowhere"}
    answer = http.post(f"/v1/sandboxes/{sandbox.id}/commands", json=body)
    assert (answer.status_code, answer.json()["code"]) == (404, "no_such_file")
    assert sandbox.commands() == []


def test_logs_of_any_length_come_in_parts_that_join(sandbox: Sandbox) -> None:
    script = r"printf 'a'; for n in $(seq 60000); do echo 'žluťoučký kůň 🐎 skáče'; done"
    handle = start(sandbox, script)
    handle.wait(poll_seconds=0.05, timeout=60)
    assert handle.logs().truncated
    assert whole(handle) == "a" + "žluťoučký kůň 🐎 skáče\n" * 60000


def test_bytes_that_are_no_text_keep_their_place(sandbox: Sandbox) -> None:
    handle = start(sandbox, r"printf 'a\xff\xfe\xf0\x9f\x90b\n\xe2\x82'")
    handle.wait(poll_seconds=0.05, timeout=30)
    assert whole(handle) == "a?????b\n??"
    assert handle.logs(offset=6).content == "b\n??"


def test_a_character_is_shown_when_it_is_whole(sandbox: Sandbox) -> None:
    script = r"printf 'x\xe2\x82'; until [ -e go ]; do sleep 0.01; done; printf '\xac'"
    handle = start(sandbox, script)
    until(lambda: handle.logs().size == 3, what="it has written")
    assert (handle.logs().content, handle.logs().truncated) == ("x", False)
    sandbox.files.write("/workspace/go", "")
    until(lambda: handle.logs().content == "x€", what="it is whole")


def test_logs_beyond_the_end_are_empty(http: httpx.Client, sandbox: Sandbox) -> None:
    handle = start(sandbox, "echo four")
    handle.wait(poll_seconds=0.05, timeout=30)
    part = handle.logs(offset=10**12)
    assert (part.content, part.size, part.truncated) == ("", 5, False)
    address = f"/v1/sandboxes/{sandbox.id}/commands/{handle.id}/logs"
    for query in ("offset=-1", "offset=x", "follow=perhaps", "timeout_seconds=0"):
        assert http.get(f"{address}?{query}").status_code == 422


def test_following_shows_output_as_it_is_written(sandbox: Sandbox) -> None:
    script = "echo ready; until [ -e go ]; do sleep 0.01; done; echo went >&2; exit 4"
    handle = start(sandbox, script)
    stream = handle.stream()
    assert next(stream).data == "ready\n"
    sandbox.files.write("/workspace/go", "")
    *chunks, last = list(stream)
    assert "".join(chunk.data for chunk in chunks) == "went\n"
    assert last.exit_code == 4
    assert "".join(chunk.data for chunk in handle.stream(offset=3)) == "dy\nwent\n"


def test_following_ends_with_its_time_and_the_command_does_not(sandbox: Sandbox) -> None:
    handle = start(sandbox, "echo begun; sleep 1000")
    seen = []
    with pytest.raises(ExecTimeout):
        for chunk in handle.stream(timeout_seconds=1):
            seen.append(chunk.data)
    assert seen == ["begun\n"]
    assert handle.refresh().status == "running"


def test_following_does_not_outlast_its_time_on_endless_output(sandbox: Sandbox) -> None:
    handle = start(sandbox, "while :; do echo on and on; sleep 0.01; done")
    with pytest.raises(ExecTimeout):
        list(handle.stream(timeout_seconds=1))
    handle.kill()


def test_following_a_killed_one_says_so(sandbox: Sandbox) -> None:
    handle = start(sandbox, "echo begun; sleep 1000")
    stream = handle.stream()
    assert next(stream).data == "begun\n"
    handle.kill()
    with pytest.raises(ExecKilled) as caught:
        next(stream)
    assert caught.value.signal == 15


def test_another_process_finds_it_again(stack: Stack, token: str, sandbox: Sandbox) -> None:
    with OrkestrClient(api_key=token, base_url=stack.url) as gone:
        handle = Sandbox.get(sandbox.id, client=gone).exec("sleep 1000", background=True)
    (found,) = sandbox.commands()
    assert (found.id, found.status) == (handle.id, "running")
    found.kill()
    assert found.status == "killed"


def test_a_killed_host_forgets_none_of_them(stack: Stack, sandbox: Sandbox) -> None:
    ended = start(sandbox, "echo early; exit 7")
    ended.wait(poll_seconds=0.05, timeout=30)
    killed = start(sandbox, "sleep 1000")
    killed.kill()
    script = "for n in $(seq 30); do echo line $n; sleep 0.05; done; sleep 0.5; exit 9"
    running = start(sandbox, script)
    until(lambda: "line 3\n" in running.logs().content, what="it writes")
    stack.kill("host")
    stack.start("host")
    listed = {one.id: one for one in sandbox.commands()}
    assert list(listed) == [ended.id, killed.id, running.id]
    assert (listed[ended.id].status, listed[ended.id].exit_code) == ("exited", 7)
    assert listed[killed.id].status == "killed"
    assert listed[ended.id].started_at == ended.started_at
    followed = "".join(chunk.data for chunk in listed[running.id].stream())
    assert followed == "".join(f"line {n}\n" for n in range(1, 31))
    assert running.wait(poll_seconds=0.05, timeout=30) == 9
    assert ended.logs().content == "early\n"


def test_one_that_ends_while_the_host_is_away_is_known(stack: Stack, sandbox: Sandbox) -> None:
    handle = start(sandbox, "until [ -e go ]; do sleep 0.01; done; echo went; exit 6")
    go = start(sandbox, "sleep 0.5; touch go")
    stack.kill("host")
    stack.start("host")
    assert handle.wait(poll_seconds=0.05, timeout=30) == 6
    assert whole(handle) == "went\n"
    assert go.wait(poll_seconds=0.05, timeout=30) == 0


def test_it_stands_still_through_a_pause_and_goes_on(sandbox: Sandbox) -> None:
    handle = start(sandbox, "echo before; until [ -e go ]; do sleep 0.05; done; echo after; exit 2")
    until(lambda: handle.logs().content == "before\n", what="it writes")
    sandbox.pause()
    again = Sandbox.resume(sandbox.id)
    (found,) = again.commands()
    assert (found.id, found.status) == (handle.id, "running")
    again.files.write("/workspace/go", "")
    assert found.wait(poll_seconds=0.05, timeout=30) == 2
    assert whole(found) == "before\nafter\n"


def test_the_timeline_has_its_card(sandbox: Sandbox) -> None:
    handle = start(sandbox, "echo shown")

    def of_it() -> dict[str, object]:
        events = events_after(sandbox_id=sandbox.id, after=0, kinds=[], limit=100)
        return {event.kind: event for event in events if event.span == handle.id}

    until(lambda: Kind.COMMAND_EXITED in of_it(), what="its end is stored")
    started = of_it()[Kind.COMMAND_STARTED]
    assert started.data["background"] is True  # type: ignore[attr-defined]
    assert "<span>background</span>" in render_rows([started])  # type: ignore[list-item]
