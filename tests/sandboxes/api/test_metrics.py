"""GET /v1/sandboxes/{id}/metrics, as the official client reads it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

import httpx
import pytest
from orkestr import Sandbox, SandboxMetrics
from orkestr.errors import OrkestrError

from sandboxes.usage.selectors import is_settled
from tests.stack import Stack
from tests.waiting import until

MIB = 2**20
#: A fixed amount of work, however busy the machine is.
WORK = "n=0; while [ $n -lt 200000 ]; do n=$((n+1)); done"


def when(
    sandbox: Sandbox, condition: Callable[[SandboxMetrics], bool], *, what: str
) -> SandboxMetrics:
    """Its metrics once they are so."""
    found: list[SandboxMetrics] = []

    def asked() -> bool:
        found.append(sandbox.metrics())
        return condition(found[-1])

    until(asked, what=what)
    return found[-1]


def has_usage(metrics: SandboxMetrics) -> bool:
    return metrics.cpu.usage_percent is not None


@contextmanager
def running(sandbox: Sandbox, command: str) -> Iterator[None]:
    """A command in the meantime; it is ended with its sandbox."""

    def call() -> None:
        try:
            sandbox.exec(command, timeout_seconds=60)
        except OrkestrError:
            return

    thread = threading.Thread(target=call)
    thread.start()
    try:
        yield
    finally:
        sandbox.terminate()
        thread.join(60)


def test_a_new_sandbox_shows_what_it_is_and_that_it_rests(sandbox: Sandbox) -> None:
    metrics = when(sandbox, lambda one: len(one.samples) >= 2, what="samples")
    assert (metrics.sandbox_id, metrics.sandbox_status) == (sandbox.id, "running")
    assert (metrics.sample_interval_seconds, metrics.window_seconds) == (1, 60)
    assert metrics.cpu.cores == 1
    assert metrics.memory.limit_bytes == 1024 * MIB
    assert metrics.memory.usage_bytes is not None
    assert 0 < metrics.memory.usage_bytes < 100 * MIB
    assert abs(metrics.as_of - datetime.now(UTC)) < timedelta(seconds=60)


def test_a_busy_loop_shows_as_a_busy_core(sandbox: Sandbox) -> None:
    with running(sandbox, "while :; do :; done"):
        busy = when(
            sandbox,
            lambda one: (one.cpu.usage_percent or 0) > 40,
            what="a core is busy, as far as others leave it",
        )
        assert busy.cpu.usage_percent is not None
        assert busy.cpu.usage_cores is not None
        assert busy.cpu.usage_percent < 130
        assert busy.cpu.usage_cores == pytest.approx(busy.cpu.usage_percent / 100, abs=0.01)
        assert max(sample.cpu_percent for sample in busy.samples) > 40


def test_memory_that_a_process_holds_shows(sandbox: Sandbox) -> None:
    before = when(sandbox, has_usage, what="a sample").memory.usage_bytes or 0
    with running(sandbox, "head -c 150M /dev/zero | tail -c 150M | sleep 30"):
        full = when(
            sandbox,
            lambda one: (one.memory.usage_bytes or 0) > before + 130 * MIB,
            what="the memory shows",
        )
        assert full.memory.usage_percent == pytest.approx(
            100 * (full.memory.usage_bytes or 0) / (1024 * MIB), abs=0.1
        )


def test_only_samples_after_since_come(sandbox: Sandbox) -> None:
    found = when(sandbox, lambda one: len(one.samples) >= 3, what="three samples")
    times = [sample.t for sample in found.samples]
    assert times == sorted(set(times))
    later = sandbox.metrics(since=times[0])
    assert later.samples[0].t == times[1]
    assert sandbox.metrics(since=datetime.now(UTC) + timedelta(hours=1)).samples == []


def test_after_the_end_usage_is_null_and_the_lifetime_stays(sandbox: Sandbox) -> None:
    sandbox.exec(WORK)
    used = when(sandbox, lambda one: one.lifetime.cpu_seconds > 0.1, what="the work is counted")
    sandbox.terminate()
    at_once = sandbox.metrics()
    until(lambda: is_settled(sandbox.id), what="the last totals are stored")
    for metrics in (at_once, sandbox.metrics()):
        assert metrics.sandbox_status == "terminated"
        assert metrics.cpu.usage_percent is None
        assert metrics.cpu.usage_cores is None
        assert metrics.memory.usage_bytes is None
        assert metrics.samples == []
        assert metrics.lifetime.cpu_seconds >= used.lifetime.cpu_seconds
        assert metrics.lifetime.gb_seconds >= used.lifetime.gb_seconds > 0
    assert sandbox.metrics().lifetime == at_once.lifetime


def test_metrics_of_an_ended_sandbox_need_no_host(stack: Stack, sandbox: Sandbox) -> None:
    sandbox.exec(WORK)
    sandbox.terminate()
    until(lambda: is_settled(sandbox.id), what="the last totals are stored")
    stack.kill("host")
    try:
        assert sandbox.metrics().lifetime.cpu_seconds > 0.1
    finally:
        stack.start("host")


@pytest.mark.parametrize("since", ["-1", "now", "1e9", "9" * 30, ""])
def test_a_since_that_is_no_second_is_told_in_a_sentence(
    http: httpx.Client, sandbox: Sandbox, since: str
) -> None:
    answer = http.get(f"/v1/sandboxes/{sandbox.id}/metrics", params={"since": since})
    assert answer.status_code == 422
    assert "since" in answer.json()["detail"]


def test_the_wire_has_every_field(http: httpx.Client, sandbox: Sandbox) -> None:
    when(sandbox, has_usage, what="a sample")
    body = http.get(f"/v1/sandboxes/{sandbox.id}/metrics").json()
    assert set(body) == {
        "sandbox_id",
        "sandbox_status",
        "as_of",
        "as_of_unix",
        "sample_interval_seconds",
        "window_seconds",
        "cpu",
        "memory",
        "lifetime",
        "samples",
    }
    assert body["as_of_unix"] == int(datetime.fromisoformat(body["as_of"]).timestamp())
    assert set(body["samples"][0]) == {"t", "cpu_percent", "mem_bytes"}
