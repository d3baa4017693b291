"""A host with real templates, for the tests of this folder."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync

from sandboxes.host.runtime import RUNC
from sandboxes.host.types import HostError
from tests.sandboxes.host.hosting import ACTOR, HostProcess, Make, Sandboxed, new_spec

BUILD_SECONDS = 1200

_DATABASE = 7


@pytest.fixture(scope="session")
def redis_url(redis_url: str) -> str:
    """A stack's worker would take the events of database 0 away before these tests see them."""
    return f"{redis_url.partition('?')[0]}?db={_DATABASE}"


@pytest.fixture(scope="session")
def templates() -> Path:
    """Built when they are not, and tools fetched; what cannot be had fails every test here."""
    default = Path(__file__).parents[3] / "var" / "templates"
    directory = Path(os.environ.get("ORKESTR_TEMPLATES_DIR") or default)
    options = ["--strict", "--dir", str(directory)]
    for module, action in (("images", "build"), ("tools", "fetch")):
        done = subprocess.run(
            [sys.executable, "-m", f"sandboxes.host.{module}", action, *options],
            capture_output=True,
            text=True,
            timeout=BUILD_SECONDS,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    return directory


@pytest.fixture(scope="session")
def _host(templates: Path, redis_url: str) -> Iterator[HostProcess]:
    host = HostProcess(templates, redis_url)
    host.start()
    yield host
    host.close()


@pytest.fixture
def host(_host: HostProcess) -> HostProcess:
    """A host that answers, also after a test that killed it."""
    _host.forget_events()
    if _host.process is None or _host.process.poll() is not None:
        _host.start()
    return _host


@pytest.fixture
def own(templates: Path, redis_url: str) -> Iterator[HostProcess]:
    """A host that nobody else uses, to be killed."""
    host = HostProcess(templates, redis_url)
    host.start()
    yield host
    host.close()


@pytest.fixture(scope="module")
def _machine(templates: Path, redis_url: str) -> Iterator[HostProcess]:
    host = HostProcess(templates, redis_url)
    host.start()
    yield host
    if host.process is None:
        host.start()
    host.close()


@pytest.fixture
def machine(_machine: HostProcess) -> Iterator[HostProcess]:
    """A host of this module's own, to be restarted with all it has."""
    _machine.forget_events()
    if _machine.process is None:
        _machine.start()
    yield _machine
    if _machine.process is None:
        _machine.start()
    async_to_sync(_end_all)(_machine)


async def _end_all(machine: HostProcess) -> None:
    for sandbox_id in await machine.client.statuses():
        await machine.client.terminate(sandbox_id, actor=ACTOR, reason="requested")


@pytest.fixture
def isolation(request: pytest.FixtureRequest) -> str:
    """The class of the test's sandboxes; ``hosting.both`` has it run with each."""
    return str(getattr(request, "param", RUNC))


@pytest.fixture
def make_sandbox(host: HostProcess, isolation: str) -> Iterator[Make]:
    """Sandboxes that end with the test."""
    made: list[Sandboxed] = []

    async def make(**changes: object) -> Sandboxed:
        spec = new_spec(**{"isolation": isolation, **changes})
        await host.client.create(spec, actor=ACTOR)
        made.append(Sandboxed(host, spec))
        return made[-1]

    yield make
    for sandbox in made:
        try:
            async_to_sync(sandbox.terminate)()
        except HostError as error:
            assert error.code == "host_unreachable", error


@pytest.fixture
def sandbox(make_sandbox: Make) -> Sandboxed:
    """A small debian-12."""
    return async_to_sync(make_sandbox)()
