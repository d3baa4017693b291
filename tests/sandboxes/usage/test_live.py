"""Usage on the live stack: kill whatever counts, and the totals are what the cgroup said."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from functools import partial

import orjson
import pytest
from django.db import connection
from orkestr import Sandbox
from orkestr._client import OrkestrClient
from orkestr.errors import OrkestrError

from sandboxes.host.cgroups import Cgroups
from sandboxes.host.gauges import Gauges
from sandboxes.host.places import Places
from sandboxes.usage.models import Usage
from sandboxes.usage.selectors import is_settled, lifetime_of, spent_eur
from sandboxes.usage.tasks import collect
from tests.cast import Cast
from tests.stack import Stack
from tests.waiting import until

BUSY = "while :; do :; done"
#: What a sample, a round of the counting and a slow machine may be behind by.
SAMPLE_US = 1_000_000


@contextmanager
def gauges_of(stack: Stack, sandbox: Sandbox) -> Iterator[Gauges]:
    """The same counters, read by the test itself."""
    places = Places.of(stack.layout.host)
    state = orjson.loads((places.sandboxes / sandbox.id / "state.json").read_bytes())
    gauges = Gauges(Cgroups().group(f"{places.cgroup}/{state['slot']}"))
    try:
        yield gauges
    finally:
        gauges.close()


def run_on(sandbox: Sandbox) -> threading.Thread:
    """Be busy until the sandbox ends; its caller may lose the answer."""

    def call() -> None:
        try:
            sandbox.exec(BUSY, timeout_seconds=120)
        except OrkestrError:
            return

    thread = threading.Thread(target=call)
    thread.start()
    return thread


def counted(sandbox: Sandbox) -> int:
    return lifetime_of(sandbox.id).cpu_us


def used_more(gauges: Gauges, cpu_us: int) -> None:
    """Let it use that much more."""
    goal = gauges.cpu_us() + cpu_us
    until(lambda: gauges.cpu_us() >= goal, seconds=60, what="it goes on")


@pytest.mark.timeout(240)
@pytest.mark.parametrize("part", ["host", "worker", "postgres", "valkey", "beat"])
def test_it_counts_once_what_runs_while_a_part_dies(
    part: str, stack: Stack, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12")
    with gauges_of(stack, sandbox) as gauges:
        thread = run_on(sandbox)
        until(lambda: counted(sandbox) > 0, what="it is counted")
        for _ in range(2):
            stack.kill(part)
            used_more(gauges, 700_000)
            stack.start(part)
            behind = gauges.cpu_us()
            until(lambda: counted(sandbox) >= behind - SAMPLE_US, seconds=60, what="caught up")  # noqa: B023
            assert counted(sandbox) <= gauges.cpu_us()
        before = gauges.cpu_us()
        sandbox.terminate()
        thread.join(60)
        until(partial(is_settled, sandbox.id), seconds=60, what="the last totals are stored")
        assert before - SAMPLE_US <= counted(sandbox) <= before + 10 * SAMPLE_US
    assert counted(sandbox) == round(sandbox.metrics().lifetime.cpu_seconds * 1e6)


def test_the_task_run_by_many_at_once_counts_once(
    stack: Stack, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12")
    failures: list[BaseException] = []

    def rounds() -> None:
        try:
            for _ in range(15):
                collect()
        except BaseException as error:
            failures.append(error)
        finally:
            connection.close()

    with gauges_of(stack, sandbox) as gauges:
        caller = run_on(sandbox)
        threads = [threading.Thread(target=rounds) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(90)
        assert not failures
        collect()
        assert counted(sandbox) <= gauges.cpu_us()
        told = sandbox.metrics().lifetime.cpu_seconds * 1e6
        assert counted(sandbox) <= told
    sandbox.terminate()
    caller.join(60)
    for _ in range(3):
        collect()
    assert is_settled(sandbox.id)
    assert counted(sandbox) == round(sandbox.metrics().lifetime.cpu_seconds * 1e6)


def test_what_a_sandbox_used_costs_what_its_size_says(
    stack: Stack, account: Cast, sandbox_client: OrkestrClient
) -> None:
    sandbox = Sandbox.create(template="debian-12")
    sandbox.exec("n=0; while [ $n -lt 200000 ]; do n=$((n+1)); done")
    sandbox.terminate()
    until(partial(is_settled, sandbox.id), what="the last totals are stored")
    (row,) = Usage.objects.filter(sandbox_id=sandbox.id)
    cpu = Decimal(row.cpu_us) / 3_600_000_000 * Decimal("0.045")
    memory = Decimal(row.memory_kib_ms) / (1024 * 1024 * 3_600_000) * Decimal("0.0145")
    assert abs(row.eur - cpu - memory) < Decimal("1e-9")
    assert spent_eur(account.account.id) == row.eur
    used = Sandbox.limits().trial_credit_used_eur
    assert used == pytest.approx(float(row.eur))
    assert used > 0


def test_a_paused_sandbox_costs_nothing(stack: Stack, sandbox_client: OrkestrClient) -> None:
    sandbox = Sandbox.create(template="debian-12")
    sandbox.exec("nohup sh -c 'while :; do :; done' > /dev/null 2>&1 &")
    until(lambda: counted(sandbox) > 100_000, what="it is counted")
    sandbox.pause()
    still = sandbox.metrics()
    assert still.sandbox_status == "paused"
    assert (still.cpu.usage_percent, still.memory.usage_bytes, still.samples) == (None, None, [])
    stack.restart("host")
    collect()
    told = lifetime_of(sandbox.id)
    assert told.cpu_us == round(still.lifetime.cpu_seconds * 1e6)
    assert told.gb_seconds == pytest.approx(still.lifetime.gb_seconds, abs=1e-6)
    assert sandbox.metrics().lifetime == still.lifetime
    sandbox = Sandbox.resume(sandbox.id)
    until(lambda: counted(sandbox) > told.cpu_us + 300_000, what="it is counted again")
    assert lifetime_of(sandbox.id).gb_seconds > told.gb_seconds
    sandbox.terminate()


def test_the_host_forgets_what_is_stored(stack: Stack, sandbox_client: OrkestrClient) -> None:
    sandbox = Sandbox.create(template="debian-12")
    folder = Places.of(stack.layout.host).sandboxes / sandbox.id
    assert folder.is_dir()
    sandbox.terminate()
    until(lambda: not folder.exists(), seconds=60, what="nothing of it is left on the host")
    assert is_settled(sandbox.id)
