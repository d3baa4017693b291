"""What a sandbox uses right now, put together from the host's meter and what has been counted."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from django.utils import timezone

from accounts.database import in_database
from sandboxes.host.client import HostClient
from sandboxes.host.types import HostError, MetricsInfo, SampleInfo
from sandboxes.models import ENDED, Sandbox, Status
from sandboxes.usage.selectors import Lifetime, is_settled, lifetime_of

_MIB = 1024 * 1024
#: A sample older than this says nothing about now.
_FRESH_SECONDS = 5


@dataclass(frozen=True, slots=True)
class Metrics:
    """``now`` is the latest sample, None when the sandbox does not run; ``samples`` are the
    window's, oldest first; ``lifetime`` holds whatever happens."""

    sandbox: Sandbox
    as_of: datetime
    now: SampleInfo | None
    samples: list[SampleInfo]
    lifetime: Lifetime

    @property
    def memory_limit(self) -> int:
        """Bytes."""
        return self.sandbox.memory_mb * _MIB

    def cpu_percent(self, sample: SampleInfo) -> float:
        """Of the size's cores."""
        return round(100 * sample.cores / float(self.sandbox.cpu), 1)

    def memory_percent(self, sample: SampleInfo) -> float:
        """Of the size's memory."""
        return round(100 * sample.memory / self.memory_limit, 1)


async def metrics_of(sandbox: Sandbox, *, host: HostClient, since: int = 0) -> Metrics:
    """Samples later than the Unix second ``since``. Raises ``HostError`` (host_unreachable) for a
    sandbox that runs; one that does not is answered from what has been counted."""
    counted, found = await in_database(lifetime_of, sandbox.id), None
    if sandbox.status not in ENDED or not await in_database(is_settled, sandbox.id):
        found = await _asked(host, sandbox)
    lifetime = _later(counted, found) if found else counted
    as_of = timezone.now()
    if found is None or not found.running or sandbox.status != Status.RUNNING:
        return Metrics(sandbox, as_of, None, [], lifetime)
    latest = found.samples[-1] if found.samples else None
    now = latest if latest and latest.at >= as_of.timestamp() - _FRESH_SECONDS else None
    samples = [sample for sample in found.samples if sample.at > since]
    return Metrics(sandbox, as_of, now, samples, lifetime)


async def _asked(host: HostClient, sandbox: Sandbox) -> MetricsInfo | None:
    """None when the host has no meter of it, or cannot say and need not."""
    try:
        return await host.metrics(sandbox.id)
    except HostError as error:
        if error.code == "not_found" or sandbox.status != Status.RUNNING:
            return None
        raise


def _later(counted: Lifetime, found: MetricsInfo) -> Lifetime:
    """The host is ahead of what has been counted by some seconds, and never behind for long."""
    return Lifetime(
        max(counted.cpu_us, found.cpu_us), max(counted.memory_kib_ms, found.memory_kib_ms)
    )
