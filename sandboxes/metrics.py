"""What is counted of sandboxes as such, whichever door they came by."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Final

from prometheus_client import Counter, Histogram

from accounts.policy import Forbidden
from sandboxes.errors import SandboxError
from sandboxes.host.types import HostError

_HOST_FULL: Final = "host_full"

creates = Counter(
    "orkestr_sandbox_creates_total",
    "Creates that ended: created, refused (a limit, a scope, what was asked for), host_full or"
    " failed.",
    ["outcome"],
)
create_seconds = Histogram(
    "orkestr_sandbox_create_seconds",
    "From the request for a sandbox until it ran, of those that did.",
    buckets=(0.01, 0.025, 0.05, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10, 30),
)


@contextmanager
def counted_create() -> Iterator[None]:
    """Around the making of one sandbox."""
    began = perf_counter()
    try:
        yield
    except HostError as error:
        creates.labels(_HOST_FULL if error.code == _HOST_FULL else "failed").inc()
        raise
    except (SandboxError, Forbidden):
        creates.labels("refused").inc()
        raise
    except BaseException:
        creates.labels("failed").inc()
        raise
    creates.labels("created").inc()
    create_seconds.observe(perf_counter() - began)
