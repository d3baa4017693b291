"""Registries as this machine's own package clients know them, and a package fetched from one."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandboxes.host import namespaces, netns
from sandboxes.host.egress import registries
from sandboxes.host.egress.client import EgressClient
from sandboxes.host.egress.policy import Policy, Rule
from sandboxes.host.nat import Nat
from sandboxes.host.networks import Networks
from timeline.events import NewEvent

from .world import Space


@pytest.fixture
def space() -> Iterator[Space]:
    space = Space()
    yield space
    space.end()


def test_a_host_is_open_over_tls_and_where_its_client_says_so_without() -> None:
    urls = [
        "https://packages.example/simple/",
        "http://mirror.example/debian/",
        "http://mirror.example:8080/",
        "https://index.example:8443/x",
        "file:///srv/packages",
        "/srv/packages",
        "undefined",
        "http://[broken",
        "https://localhost/simple",
        "https://127.0.0.1/simple",
    ]
    assert registries.rules(urls) == (
        Rule("index.example", (443, 8443)),
        Rule("mirror.example", (443,), (80, 8080)),
        Rule("packages.example"),
    )


def test_a_machine_that_works_from_a_mirror_hands_it_on() -> None:
    config = [
        "global.index-url='https://mirror.example/simple'",
        "global.extra-index-url='https://more.example/simple file:///srv/packages'",
        "global.find-links='/srv/wheels'",
        "install.trusted-host='mirror.example'",
        ":env:.index-url='https://nearer.example/simple'",
    ]
    assert registries.environment(config, ["https://npm.example/"]) == {
        "PIP_INDEX_URL": "https://nearer.example/simple",
        "PIP_EXTRA_INDEX_URL": "https://more.example/simple",
        "PIP_TRUSTED_HOST": "mirror.example",
        "NPM_CONFIG_REGISTRY": "https://npm.example/",
    }


def test_passwords_and_folders_of_the_machine_stay_with_it() -> None:
    config = ["global.index-url='https://me:secret@mirror.example/simple'", "install.cert='/x'"]
    assert registries.environment(config, ["file:///srv/npm", "http://[broken"]) == {}


async def test_a_client_that_is_not_there_adds_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    rules = await registries.registry_rules()
    assert len(rules) >= 2, "pip's own index and where it keeps its files"


async def test_npms_registry_is_the_one_it_is_set_to(monkeypatch: pytest.MonkeyPatch) -> None:
    assert shutil.which("npm"), "npm is needed to build the front end and the node template"
    before = await registries.registry_rules()
    monkeypatch.setenv("npm_config_registry", "https://npm.example:4873/")
    rules = await registries.registry_rules()
    assert Rule("npm.example", (443, 4873)) in set(rules) - set(before)


async def test_a_mirror_in_pips_settings_is_added(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PIP_INDEX_URL", "http://pip.example:3141/simple")
    assert Rule("pip.example", (443,), (3141,)) in await registries.registry_rules()


async def test_a_package_is_fetched_with_no_set_up_but_the_environment(space: Space) -> None:
    folder = Path(tempfile.mkdtemp(prefix="egress-registry-"))
    reported: list[NewEvent] = []
    egress = EgressClient(folder, report=lambda _, event: reported.append(event))
    networks = Networks(egress=egress, nat=Nat(tag="registry"))
    rules = await registries.registry_rules()
    await egress.start()
    try:
        await networks.attach("restricted", "sbx_pip", space.pid, policy=Policy(rules))
        environment = {**os.environ, **networks.environment("restricted")}
        await asyncio.to_thread(fetch_package, space, folder, environment)
        for rule in rules:
            if rule.http_ports:
                await asyncio.to_thread(fetch_plain, space, rule, environment)
        await networks.detach("sbx_pip")
    finally:
        await egress.close(stop=True)
        shutil.rmtree(folder)
    allowed = [event for event in reported if event.kind == "network.allowed"]
    hosts = {event.data["host"] for event in allowed if event.data["bytes_down"] > 0}
    assert hosts
    assert hosts <= {rule.domain for rule in rules}
    assert {rule.domain for rule in rules if rule.http_ports} <= hosts
    assert [event for event in reported if event.kind == "network.denied"] == []


def fetch_package(space: Space, folder: Path, environment: dict[str, str]) -> None:
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--no-cache-dir"]
    done = namespaces.inside(
        netns.of_process(space.pid),
        lambda: subprocess.run(
            [*command, "--dest", str(folder), "iniconfig"],
            env=environment,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        ),
    )
    assert done.returncode == 0, done.stderr
    assert list(folder.glob("iniconfig-*"))


def fetch_plain(space: Space, rule: Rule, environment: dict[str, str]) -> None:
    """Any answer of the registry itself will do; the proxy's own names its reason."""
    url = f"http://{rule.domain}:{rule.http_ports[0]}/"
    done = namespaces.inside(
        netns.of_process(space.pid),
        lambda: subprocess.run(
            ["curl", "-sS", "-i", "-m", "30", url],
            env=environment,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        ),
    )
    assert done.stdout.startswith("HTTP/1.1 "), done.stderr
    assert "x-egress-reason" not in done.stdout.lower()
