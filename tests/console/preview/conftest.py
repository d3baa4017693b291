"""A sandbox with a web server in it, and a way to its port by name."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from orkestr import Sandbox
from orkestr._client import OrkestrClient

from tests.stack import Stack
from tests.waiting import until

PORT = 3000
SERVER = Path(__file__).with_name("inside.py")


class Visitor(httpx.Client):
    """Finds every name under the base on this machine, as browsers do."""

    def __init__(self, stack: Stack) -> None:
        self.port = stack.options.port
        super().__init__(base_url=stack.url, timeout=30)

    def at(self, host: str, path: str = "/", method: str = "GET", **more: object) -> httpx.Response:
        headers = {"host": host, **dict(more.pop("headers", {}))}  # type: ignore[call-overload]
        return self.request(method, path, headers=headers, **more)  # type: ignore[arg-type]


@pytest.fixture
def visitor(stack: Stack) -> Iterator[Visitor]:
    with Visitor(stack) as visitor:
        yield visitor


def serve(sandbox: Sandbox, *, port: int = PORT) -> str:
    """Starts the server of ``inside.py``; the host by which it is seen."""
    sandbox.files.write("/workspace/inside.py", SERVER.read_text())
    sandbox.exec(f"(python3 /workspace/inside.py {port} >/tmp/inside.log 2>&1 &); sleep 0")
    until(lambda: "ready" in sandbox.exec("cat /tmp/inside.log").stdout, what="it listens")
    host: str = sandbox.get_host(port)
    return host


@pytest.fixture
def shown(sandbox_client: OrkestrClient) -> Sandbox:
    """A sandbox without a network, whose port 3000 is served."""
    return Sandbox.create(template="python-3.12-bare", client=sandbox_client)


@pytest.fixture
def http(stack: Stack, token: str) -> Iterator[httpx.Client]:
    """The API, with the token of ``account``."""
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=stack.url, headers=headers, timeout=60) as client:
        yield client
