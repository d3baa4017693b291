"""What the services count of an event's way behind the shards; ``timeline.shipping`` counts before.

Every label has a few values known in advance. Nothing here is per event: one call a batch, an
entry of the live stream, or a frame.
"""

from __future__ import annotations

from typing import Final

from prometheus_client import Counter, Gauge, Histogram

SECONDS: Final = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)
EVENTS: Final = (1, 4, 16, 64, 256, 1024, 4096, 16384)

tail_batches = Counter(
    "orkestr_tail_batches_total",
    "Batches of journals that workers read from the shards: stored, known (nothing in them was"
    " new), early (something before them is missing: read again), lost (asked for again) or"
    " malformed.",
    ["outcome"],
)
tail_takeovers = Counter(
    "orkestr_tail_takeovers_total", "Shards that a worker began to tail, from another or anew."
)
tail_claimed = Counter(
    "orkestr_tail_claimed_entries_total",
    "Entries of shards that had been read before and not acknowledged, and were read again.",
)
tail_failures = Counter(
    "orkestr_tail_failures_total", "Times that a tail had to begin again with fresh connections."
)
store_events = Counter("orkestr_store_events_total", "Events inserted into PostgreSQL.")
store_dropped = Counter(
    "orkestr_store_dropped_events_total",
    "Events kept as log.unreadable because they could not be read (format, count) or stored"
    " (refused).",
    ["reason"],
)
store_batch_events = Histogram(
    "orkestr_store_round_events", "Events inserted by one round of a tail.", buckets=EVENTS
)
store_seconds = Histogram(
    "orkestr_store_seconds", "How long the transaction of one round took.", buckets=SECONDS
)
store_lag_seconds = Histogram(
    "orkestr_store_lag_seconds",
    "From an event's happening in its sandbox to its being stored; the newest of each round.",
    buckets=SECONDS,
)
live_entries = Counter("orkestr_live_entries_total", "Entries written to the live stream.")
hub_entries = Counter("orkestr_hub_entries_total", "Entries the hubs read from the live stream.")
hub_failures = Counter("orkestr_hub_failures_total", "Times that a hub lost the live stream.")
hub_drops = Counter(
    "orkestr_hub_drops_total",
    "Times that a viewer's queue was full and given up, to be repaired from PostgreSQL.",
)
hub_viewers = Gauge(
    "orkestr_hub_viewers", "Viewers subscribed to timelines.", multiprocess_mode="livesum"
)
hub_sandboxes = Gauge(
    "orkestr_hub_sandboxes", "Sandboxes somebody watches.", multiprocess_mode="livesum"
)
repaired_events = Counter(
    "orkestr_repaired_events_total", "Events read from PostgreSQL because they did not come live."
)
skipped_events = Counter(
    "orkestr_skipped_events_total", "Events that viewers far behind were not sent, and told so."
)
sent_units = Counter(
    "orkestr_timeline_sent_units_total", "UTF-16 units of rows sent to viewers of timelines."
)
ack_waits = Counter(
    "orkestr_ack_waits_total", "Times that sending stopped because a viewer's window was full."
)
ack_waiting = Gauge(
    "orkestr_ack_waiting_viewers",
    "Viewers whose window is full: sending waits for them.",
    multiprocess_mode="livesum",
)
