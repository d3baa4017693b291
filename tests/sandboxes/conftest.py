"""A sandbox of one's own, and the wire without the official client."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest
from orkestr import Sandbox
from orkestr._client import OrkestrClient

from tests.stack import Stack


@pytest.fixture
def sandbox(sandbox_client: OrkestrClient) -> Sandbox:
    """A running one; it ends with the test."""
    return Sandbox.create(template="debian-12", client=sandbox_client)


@pytest.fixture
def http(stack: Stack, token: str) -> Iterator[httpx.Client]:
    """With the token of ``account``."""
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=60) as client:
        yield client
