"""What every measurement works on: a whole stack of its own, an account, the official client."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.test import Client
from django.test.utils import setup_databases, setup_test_environment
from orkestr._client import OrkestrClient, set_default_client

from sandboxes.host.__main__ import READY_SANDBOXES as DEFAULT_READY
from tests.cast import Cast, make_cast
from tests.stack import Servers, Stack, use

#: As `make up` has it; the tests keep fewer sandboxes ready.
READY_SANDBOXES = str(DEFAULT_READY)


@dataclass(frozen=True)
class Bench:
    """A running platform. ``quick`` shortens what only needs to be seen working."""

    stack: Stack
    cast: Cast
    client: OrkestrClient
    quick: bool

    def many(self, full: int) -> int:
        """How often a thing is done."""
        return max(4, full // 10) if self.quick else full

    def seconds(self, full: float) -> float:
        """How long a sustained measurement lasts."""
        return max(3.0, full / 10) if self.quick else full

    @property
    def host_folder(self) -> Path:
        """The state of the stack's sandbox host."""
        return self.stack.layout.host

    def container(self, sandbox_id: str) -> str:
        """What the runtime calls this sandbox."""
        state = json.loads((self.host_folder / "sandboxes" / sandbox_id / "state.json").read_text())
        return str(state["slot"])

    def session_cookie(self) -> str:
        """The cookie header of the account's owner, signed in."""
        browser = Client()
        browser.force_login(self.cast.owner)
        return "; ".join(f"{name}={morsel.value}" for name, morsel in browser.cookies.items())

    def past_sandbox(self) -> str:
        """A sandbox that has ended, whose timeline the bench writes itself."""
        return self.cast.ended_sandbox()


@contextmanager
def platform(*, quick: bool) -> Iterator[Bench]:
    """Start it all, measure inside, stop it all."""
    os.environ["ORKESTR_READY_SANDBOXES"] = READY_SANDBOXES
    servers = Servers(synced=True)
    try:
        use(servers)
        setup_test_environment(debug=False)
        setup_databases(verbosity=0, interactive=False)
        stack = Stack(servers, database=settings.DATABASES["default"]["NAME"])
        try:
            stack.open()
            cast = make_cast()
            client = OrkestrClient(api_key=cast.mint().text, base_url=stack.url)
            set_default_client(client)
            yield Bench(stack, cast, client, quick)
        finally:
            stack.close()
    finally:
        servers.close()
