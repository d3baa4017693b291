"""A receiver for each test."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.sandboxes.webhooks.receiver import Receiver


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """Takes everything, unless it is told what to say."""
    with Receiver() as receiver:
        yield receiver
