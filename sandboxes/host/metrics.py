"""What the host tells Prometheus of itself; the console's ``/metrics`` passes it on.

The host opens no port for it: its socket answers, to those it serves anyway.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric

from sandboxes.host.daemon import Host
from timeline import shipping

calls = Counter(
    "orkestr_host_calls_total",
    "Calls that the host answered, by operation and by how: ok, a refusal's code class, or failed.",
    ["op", "outcome"],
    registry=shipping.REGISTRY,
)
call_seconds = Histogram(
    "orkestr_host_call_seconds",
    "From a call's arrival to its whole answer; commands take as long as they run.",
    ["op"],
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10, 60),
    registry=shipping.REGISTRY,
)
boot_seconds = Histogram(
    "orkestr_host_boot_seconds",
    "From a create's arrival at the host until the sandbox's agent answered.",
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
    registry=shipping.REGISTRY,
)
UNKNOWN: Final = "unknown"


class Outcome:
    """How a call ended, as its label says: ``ok``, ``refused`` or ``failed``."""

    value = "ok"


@contextmanager
def counted(op: str) -> Iterator[Outcome]:
    """Counts one call; an operation that is not known to the host must come as ``UNKNOWN``."""
    outcome, began = Outcome(), time.perf_counter()
    try:
        yield outcome
    except BaseException:
        outcome.value = "failed"
        raise
    finally:
        calls.labels(op, outcome.value).inc()
        call_seconds.labels(op).observe(time.perf_counter() - began)


class _OfHost:
    """What is counted when somebody asks, and costs nothing until then."""

    def __init__(self, host: Host) -> None:
        self._host = host

    def collect(self) -> Iterable[Metric]:
        yield from _sandboxes(self._host)
        backlog = self._host.shipper.backlog()
        for name, text, value in (
            ("orkestr_journals", "Journals of sandboxes on this host.", backlog.journals),
            (
                "orkestr_journal_waiting_events",
                "Events in journals that Redis does not have.",
                backlog.waiting,
            ),
            (
                "orkestr_journal_unstored_events",
                "Events in journals that PostgreSQL is not known to have.",
                backlog.unstored,
            ),
            ("orkestr_journal_blocked", "Journals that wait for room in Redis.", backlog.blocked),
            (
                "orkestr_journal_unstored_bytes",
                "Bytes that Redis holds and PostgreSQL is not known to have.",
                backlog.flying_bytes,
            ),
        ):
            yield GaugeMetricFamily(name, text, value=value)


def _sandboxes(host: Host) -> Iterator[Metric]:
    paused = len(host.paused_ids())
    states = GaugeMetricFamily(
        "orkestr_host_sandboxes", "Sandboxes on this host, as the host sees them.", labels=["state"]
    )
    states.add_metric(["running"], len(host.ids()) - paused)
    states.add_metric(["paused"], paused)
    yield states
    yield GaugeMetricFamily(
        "orkestr_host_ready_sandboxes",
        "Sandboxes started ahead of time, which creates are answered from.",
        value=host.ready_count(),
    )
    yield GaugeMetricFamily(
        "orkestr_host_commands", "Commands that run.", value=host.command_count()
    )
    yield GaugeMetricFamily(
        "orkestr_host_free_bytes",
        "Free on the disk of the host's folder.",
        value=host.free_bytes(),
    )


def looked_up(host: Host) -> bytes:
    """What the host's own loop must count, in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_OfHost(host))
    return generate_latest(registry)


def counted_so_far() -> bytes:
    """The rest of it, which any thread may write down."""
    return generate_latest(shipping.REGISTRY)
