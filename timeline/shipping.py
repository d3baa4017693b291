"""What the sandbox host counts of an event's way to the shards; in a registry of the host's own.

The services never import this: their ``/metrics`` takes what the host says of itself.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram

REGISTRY: Final = CollectorRegistry()

events = Counter("orkestr_shipper_events_total", "Events handed to the shards.", registry=REGISTRY)
size = Counter("orkestr_shipper_bytes_total", "Bytes handed to the shards.", registry=REGISTRY)
failures = Counter(
    "orkestr_shipper_failures_total",
    "Rounds that Redis did not take; the journals keep what was in them.",
    registry=REGISTRY,
)
restarts = Counter(
    "orkestr_shipper_restarts_total",
    "Times that Redis had lost events of a journal, which were shipped again.",
    registry=REGISTRY,
)
batch_events = Histogram(
    "orkestr_shipper_batch_events",
    "Events in one batch of one journal.",
    buckets=(1, 4, 16, 64, 256, 1024, 4096),
    registry=REGISTRY,
)
round_seconds = Histogram(
    "orkestr_shipper_round_seconds",
    "How long Redis took for one round of batches.",
    buckets=(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 5),
    registry=REGISTRY,
)
