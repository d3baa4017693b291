"""What the host counts: CPU and working set of every sandbox, through kills of the host."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable

import orjson
import pytest
from asgiref.sync import async_to_sync

from sandboxes.host.cgroups import Cgroups
from sandboxes.host.gauges import Gauges
from sandboxes.host.totals import KIB_MS_PER_GB_SECOND, load
from sandboxes.host.types import HostError, MeterInfo, MetricsInfo
from tests.sandboxes.host.hosting import HostProcess, Sandboxed, both, create
from tests.waiting import until

BUSY = "while :; do :; done"
#: A sample a second, and the machine may be slow to take it.
SAMPLE_US = 2_500_000
MIB = 2**20


def gauges_of(sandbox: Sandboxed) -> Gauges:
    """The same counters, read by the test itself."""
    host = sandbox.host
    state = orjson.loads((host.places.sandboxes / sandbox.id / "state.json").read_bytes())
    return Gauges(Cgroups().group(f"{host.places.cgroup}/{state['slot']}"))


async def meter(sandbox: Sandboxed) -> MeterInfo | None:
    rows = {row.sandbox_id: row for row in await sandbox.host.client.meters()}
    return rows.get(sandbox.id)


async def metrics_when(
    sandbox: Sandboxed, condition: Callable[[MetricsInfo], bool], *, what: str
) -> MetricsInfo:
    """What its metrics are once they are so."""
    found: list[MetricsInfo] = []

    def asked() -> bool:
        found.append(async_to_sync(sandbox.host.client.metrics)(sandbox.id))
        return condition(found[-1])

    await asyncio.to_thread(until, asked, what=what)
    return found[-1]


#: A fixed amount of work, however busy the machine is: more than a tenth of a second of CPU.
WORK = "n=0; while [ $n -lt 200000 ]; do n=$((n+1)); done"
WORK_US = 100_000


@both
async def test_it_counts_the_cpu_time_that_the_cgroup_counts(
    host: HostProcess, isolation: str
) -> None:
    sandbox = await create(host, isolation=isolation)
    gauges = gauges_of(sandbox)
    before = gauges.cpu_us()
    await sandbox.exec(WORK)
    used = gauges.cpu_us() - before
    found = await metrics_when(
        sandbox, lambda one: one.cpu_us >= used, what="the next sample has it"
    )
    assert used > WORK_US
    assert found.cpu_us <= gauges.cpu_us()
    assert found.running
    gauges.close()
    await sandbox.terminate()


async def test_a_new_sandbox_does_not_pay_for_what_its_slot_used_before(host: HostProcess) -> None:
    sandbox = await create(host)
    gauges = gauges_of(sandbox)
    first = await host.client.metrics(sandbox.id)
    assert first.cpu_us < gauges.cpu_us()
    assert first.memory_kib_ms < KIB_MS_PER_GB_SECOND
    gauges.close()
    await sandbox.terminate()


async def test_samples_come_once_a_second_and_show_memory_that_is_held(host: HostProcess) -> None:
    sandbox = await create(host)
    quiet = await metrics_when(sandbox, lambda one: len(one.samples) >= 2, what="samples")
    hold = "head -c 50000000 /dev/zero | tail -c 50000000 | sleep 8"
    holding = asyncio.ensure_future(sandbox.exec(hold))
    full = await metrics_when(
        sandbox, lambda one: one.samples[-1].memory > 40 * MIB, what="the memory shows"
    )
    assert full.samples[-1].memory - quiet.samples[-1].memory > 40 * MIB
    seconds = [sample.at for sample in full.samples]
    assert seconds == sorted(set(seconds))
    await sandbox.terminate()
    await asyncio.gather(holding, return_exceptions=True)


async def test_file_cache_is_not_working_set(host: HostProcess) -> None:
    sandbox = await create(host)
    await sandbox.output("dd if=/dev/zero of=/workspace/f bs=1M count=60 2>/dev/null; sync")
    await sandbox.output("cat /workspace/f > /dev/null")
    gauges = gauges_of(sandbox)
    assert int(os.pread(gauges._usage, 32, 0)) > 50 * MIB, "the file is in the cache"
    assert gauges.read().memory < 40 * MIB
    gauges.close()
    await sandbox.terminate()


async def test_only_samples_later_than_asked_for_are_told(host: HostProcess) -> None:
    sandbox = await create(host)
    found = await metrics_when(sandbox, lambda one: len(one.samples) >= 2, what="two samples")
    since = found.samples[0].at
    later = await host.client.metrics(sandbox.id, since=since)
    assert later.samples
    assert all(sample.at > since for sample in later.samples)
    assert later.samples[0] == found.samples[1]
    await sandbox.terminate()


async def test_the_last_totals_are_kept_until_they_are_stored(own: HostProcess) -> None:
    sandbox = await create(own)
    gauges = gauges_of(sandbox)
    before = gauges.cpu_us()
    await sandbox.exec(WORK)
    used = gauges.cpu_us() - before
    gauges.close()
    await sandbox.terminate()
    folder = own.places.sandboxes / sandbox.id

    last = await meter(sandbox)
    assert last is not None
    assert last.ended
    assert last.cpu_us >= used, "what was used since the last sample is in it"
    assert not (await own.client.metrics(sandbox.id)).running

    own.until_event(sandbox.id, "sandbox.terminated")
    own.say_stored(sandbox.id)
    await asyncio.to_thread(until, lambda: not (folder / "journal").exists(), what="journal gone")
    own.kill()
    own.start()
    assert await meter(sandbox) == last

    await own.client.meters_stored([sandbox.id])
    assert await meter(sandbox) is None
    await asyncio.to_thread(until, lambda: not folder.exists(), what="its folder is removed")
    with pytest.raises(HostError) as error:
        await own.client.metrics(sandbox.id)
    assert error.value.code == "not_found"


async def test_a_killed_host_loses_nothing_of_what_ran_meanwhile(own: HostProcess) -> None:
    sandbox = await create(own)
    gauges = gauges_of(sandbox)
    running = asyncio.ensure_future(sandbox.exec(BUSY, timeout_seconds=300))
    begun = await metrics_when(sandbox, lambda one: one.cpu_us > 500_000, what="it is busy")
    told = await meter(sandbox)
    own.kill()
    await asyncio.gather(running, return_exceptions=True)
    unseen = gauges.cpu_us() + 1_500_000
    await asyncio.to_thread(until, lambda: gauges.cpu_us() > unseen, what="it ran on unseen")
    own.start()

    def caught_up(found: MetricsInfo) -> bool:
        return found.cpu_us - begun.cpu_us > 1_500_000

    after = await metrics_when(sandbox, caught_up, what="the next host counts it")
    assert 0 <= gauges.cpu_us() - after.cpu_us < SAMPLE_US
    assert after.memory_kib_ms > begun.memory_kib_ms
    again = await meter(sandbox)
    assert told is not None
    assert again is not None
    assert again.generation == told.generation
    gauges.close()
    await sandbox.terminate()


async def test_what_ended_while_no_host_ran_is_counted_to_its_end(own: HostProcess) -> None:
    sandbox = await create(own)
    gauges = gauges_of(sandbox)
    running = asyncio.ensure_future(sandbox.exec(BUSY, timeout_seconds=300))
    await metrics_when(sandbox, lambda one: one.cpu_us > 300_000, what="it is busy")
    pid = own.init_pid(sandbox.id)
    own.kill()
    await asyncio.gather(running, return_exceptions=True)
    unseen = gauges.cpu_us() + 500_000
    await asyncio.to_thread(until, lambda: gauges.cpu_us() > unseen, what="it ran on unseen")
    os.kill(pid, signal.SIGKILL)
    own.start()
    last = await meter(sandbox)
    assert last is not None
    assert last.ended
    assert last.cpu_us >= unseen - 100_000
    gauges.close()


async def test_a_torn_file_is_not_believed(own: HostProcess) -> None:
    sandbox = await create(own)
    await sandbox.exec(WORK)
    await metrics_when(sandbox, lambda one: one.cpu_us > WORK_US, what="it is counted")
    told = await meter(sandbox)
    own.kill()
    path = own.places.sandboxes / sandbox.id / "meter"
    path.write_bytes(b"\xff" * 3 + path.read_bytes()[3:])
    assert load(path.parent) is None
    own.start()
    again = await meter(sandbox)
    assert told is not None
    assert again is not None
    assert again.generation > told.generation, "who stores totals must know that these begin anew"
    await sandbox.terminate()


async def test_a_reading_of_a_gone_group_is_an_error(own: HostProcess) -> None:
    sandbox = await create(own)
    gauges = gauges_of(sandbox)
    await sandbox.terminate()

    def gone() -> bool:
        try:
            gauges.read()
        except OSError:
            return True
        return False

    await asyncio.to_thread(until, gone, what="its cgroup is removed")
    gauges.close()
