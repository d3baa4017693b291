"""What a webhook can be told of."""

from __future__ import annotations

from enum import StrEnum
from typing import Final


class EventType(StrEnum):
    """The names of the wire. A webhook without a choice of its own is told of all of them."""

    SANDBOX_CREATED = "sandbox.created"
    SANDBOX_PAUSED = "sandbox.paused"
    SANDBOX_RESUMED = "sandbox.resumed"
    SANDBOX_TERMINATED = "sandbox.terminated"
    SANDBOX_EXPIRED = "sandbox.expired"
    TEMPLATE_BUILD_FINISHED = "template.build_finished"
    VOLUME_MOVED = "volume.moved"
    VOLUME_EXPIRED = "volume.expired"
    USAGE_ALERT = "usage.alert"


TEST_EVENT: Final = "webhook.test"
"""What somebody sends to see whether it arrives. Every webhook gets it; none chooses it."""
