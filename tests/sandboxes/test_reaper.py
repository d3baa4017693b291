"""The reaper, on the live stack: rows and host are brought into step again."""

from __future__ import annotations

import os
import signal
from datetime import UTC, datetime, timedelta
from functools import partial

import pytest
from asgiref.sync import async_to_sync
from orkestr import Sandbox, SandboxNotReady
from orkestr._client import OrkestrClient

from sandboxes.host.client import HostClient
from sandboxes.host.types import CreateSpec
from sandboxes.limits import SandboxRequest
from sandboxes.models import Sandbox as Row
from sandboxes.models import Status
from sandboxes.reserving import sandbox_reserve
from tests.cast import Cast
from tests.machine import first_process
from tests.stack import Stack
from tests.waiting import until
from timeline.events import SYSTEM
from timeline.selectors import events_after, verify


def on_host(stack: Stack) -> list[str]:
    return async_to_sync(HostClient(str(stack.host_socket)).sandboxes)()


def status(sandbox_id: str) -> str:
    return str(Row.objects.values_list("status", flat=True).get(id=sandbox_id))


def test_what_never_got_to_run_is_given_up(stack: Stack, account: Cast) -> None:
    request = SandboxRequest("debian-12")
    row = sandbox_reserve(principal=account.principal(), request=request)[0]
    long_ago = datetime.now(UTC) - timedelta(minutes=10)
    Row.objects.filter(id=row.id).update(created_at=long_ago)
    until(lambda: status(row.id) == Status.FAILED, what="it is given up")
    (event,) = events_after(sandbox_id=row.id)
    assert (event.kind, event.data["reason"]) == ("sandbox.failed", "start_interrupted")


def test_what_the_host_does_not_have_fails_with_an_event_that_says_why(
    stack: Stack, account: Cast
) -> None:
    request = SandboxRequest("debian-12")
    row = sandbox_reserve(principal=account.principal(), request=request)[0]
    Row.objects.filter(id=row.id).update(status=Status.RUNNING, started_at=datetime.now(UTC))
    until(lambda: status(row.id) == Status.FAILED, seconds=60, what="it is noticed")
    (event,) = events_after(sandbox_id=row.id)
    assert (event.kind, event.data["reason"]) == ("sandbox.failed", "host_lost")
    assert event.data["detail"].endswith(".")


def test_what_has_no_row_is_ended_on_the_host(stack: Stack) -> None:
    sandbox_id = "sbx_" + "7" * 26
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    spec = CreateSpec(
        sandbox_id=sandbox_id,
        template="debian-12",
        size="small",
        cpu=1.0,
        memory_mb=256,
        disk_mb=256,
        pids=64,
        network="off",
        timeout_seconds=3600,
        expires_at=later,
    )
    async_to_sync(HostClient(str(stack.host_socket)).create)(spec, actor=SYSTEM)
    until(lambda: sandbox_id not in on_host(stack), what="the stray is ended")


def test_what_runs_is_left_alone(stack: Stack, sandbox: Sandbox) -> None:
    other = Sandbox.create(template="debian-12")
    past = datetime.now(UTC) - timedelta(seconds=1)
    Row.objects.filter(id=other.id).update(expires_at=past)
    until(lambda: status(other.id) == Status.TERMINATED, what="a round has passed")
    assert sandbox.exec("echo alive").stdout == "alive\n"
    assert sandbox.id in on_host(stack)


def test_a_sandbox_whose_first_process_is_killed_fails_and_says_so(
    stack: Stack, sandbox: Sandbox
) -> None:
    os.kill(first_process(stack, sandbox.id), signal.SIGKILL)
    until(lambda: status(sandbox.id) == Status.FAILED, what="the row follows")
    with pytest.raises(SandboxNotReady, match="failed"):
        sandbox.exec("true")
    kinds = [event.kind for event in events_after(sandbox_id=sandbox.id)]
    assert kinds.count("sandbox.failed") == 1


def test_what_expires_while_nobody_looks_ends_once_somebody_does(
    stack: Stack, sandbox_client: OrkestrClient
) -> None:
    """Worker and beat are dead, then the worker dies again in the middle of ending them."""
    running = [Sandbox.create(template="debian-12", volume=f"v{n}") for n in range(4)]
    paused = Sandbox.create(template="debian-12")
    paused.pause()
    ids = {one.id for one in (*running, paused)}
    stack.kill("beat")
    stack.kill("worker")
    past = datetime.now(UTC) - timedelta(seconds=1)
    Row.objects.filter(id__in=ids).update(expires_at=past)
    Row.objects.filter(id=paused.id).update(paused_expires_at=past)
    stack.start("worker")
    stack.start("beat")
    until(lambda: not ids <= set(on_host(stack)), what="one of them is ended")
    stack.restart("worker")
    ended = Row.objects.filter(id__in=ids, status=Status.TERMINATED)
    until(lambda: ended.count() == len(ids), seconds=60, what="all of them are ended")
    reasons = dict(ended.values_list("id", "reason"))
    assert reasons.pop(paused.id) == "paused_expired"
    assert set(reasons.values()) == {"expired"}
    assert not ids & set(on_host(stack))
    for sandbox_id in ids:
        until(partial(is_told, sandbox_id), what="its end is told")
        kinds = [event.kind for event in events_after(sandbox_id=sandbox_id)]
        assert kinds.count("sandbox.terminated") == 1
        assert verify(sandbox_id=sandbox_id).gapless


def is_told(sandbox_id: str) -> bool:
    return events_after(sandbox_id=sandbox_id)[-1].kind == "sandbox.terminated"
