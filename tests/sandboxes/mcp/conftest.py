"""The official client of the protocol against a running stack."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import httpx2
import pytest
from mcp.client.client import Client, ConnectMode
from mcp.client.streamable_http import streamable_http_client

from tests.stack import Stack

T = TypeVar("T")
Talk = Callable[[Client], Awaitable[T]]
PATH = "/api/sandboxes/mcp"


class Caller:
    """Runs a conversation; each has a client and an event loop of its own."""

    def __init__(self, url: str) -> None:
        self.url = url + PATH

    def __call__(self, text: str, talk: Talk[T], *, mode: ConnectMode = "auto") -> T:
        async def conversation() -> T:
            headers = {"Authorization": f"Bearer {text}"}
            async with (
                asyncio.timeout(60),
                httpx2.AsyncClient(headers=headers, timeout=60) as http,
                Client(streamable_http_client(self.url, http_client=http), mode=mode) as client,
            ):
                return await talk(client)

        return asyncio.run(conversation())


@pytest.fixture
def call(stack: Stack) -> Caller:
    return Caller(stack.url)
