"""`make up`, `make status` and `make down` as they are typed, on a data folder of their own."""

from __future__ import annotations

import json
import os
import signal
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from orkestr import Sandbox
from orkestr._client import OrkestrClient

from console.launch.environment import read_env
from console.launch.layout import Layout, checkout, options_from
from console.launch.leftovers import find
from console.launch.processes import Identity, Records, is_alive
from tests.stack import service_uid
from tests.waiting import free_port, until

PARTS = {"postgres", "valkey", "worker", "beat", "host", "asgi"}
NOT_RUNNING = 2  # make's own code for a target that failed


@dataclass(frozen=True)
class Instance:
    """One data folder and its port."""

    env: dict[str, str]
    layout: Layout
    port: int

    def make(self, target: str, **more: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            ["make", "--no-print-directory", target],
            cwd=checkout(),
            env={**self.env, **more},
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )

    def living(self) -> dict[str, Identity]:
        return find(self.layout)


@pytest.fixture
def instance(open_path: Path) -> Iterator[Instance]:
    """On an empty folder."""
    yield from _instance(open_path)


@pytest.fixture(scope="module")
def _kept() -> Iterator[Instance]:
    with tempfile.TemporaryDirectory(prefix="orkestr-open-") as folder:
        Path(folder).chmod(0o755)
        yield from _instance(Path(folder).resolve())


@pytest.fixture
def kept(_kept: Instance) -> Iterator[Instance]:
    """On a folder that tests of this module have one after another, each from a standstill."""
    yield _kept
    if _kept.living():
        _kept.make("down")


def _instance(folder: Path) -> Iterator[Instance]:
    port = free_port()
    own = {"DATA": str(folder / "var"), "PORT": str(port), "ORKESTR_READY_SANDBOXES": "1"}
    templates = os.environ.get("ORKESTR_TEMPLATES_DIR") or str(checkout() / "var" / "templates")
    env = {**os.environ, **own, "ORKESTR_TEMPLATES_DIR": templates}
    for name in ("DATABASE_URL", "REDIS_URL", "DJANGO_SETTINGS_MODULE"):
        env.pop(name, None)
    instance = Instance(env, options_from(env, root=checkout()).layout, port)
    yield instance
    instance.make("down")


def test_it_starts_runs_a_sandbox_and_stops(kept: Instance) -> None:
    up = kept.make("up", DETACH="1")
    assert up.returncode == 0, up.stdout + up.stderr
    assert f"http://127.0.0.1:{kept.port}" in up.stdout
    living = kept.living()
    assert set(living) == PARTS | {"supervisor"}
    _only_the_host_is_root(living)
    _a_token_that_works(kept)
    assert "It runs already" in kept.make("up", DETACH="1").stdout
    status = kept.make("status", PORT="8000")  # where it is, not where it would start
    assert status.returncode == 0
    assert f"http://127.0.0.1:{kept.port} " in status.stdout
    assert kept.make("down").returncode == 0
    assert not [name for name, each in living.items() if is_alive(each)]
    assert kept.make("status").returncode == NOT_RUNNING
    assert not kept.layout.run.exists()


def _only_the_host_is_root(living: dict[str, Identity]) -> None:
    uids = {name: Path(f"/proc/{each.pid}").stat().st_uid for name, each in living.items()}
    assert {name for name, uid in uids.items() if uid == 0} == {"host", "supervisor"}
    assert {uids[name] for name in PARTS - {"host"}} == {service_uid()}


def _a_token_that_works(instance: Instance) -> None:
    path = instance.layout.dev_env
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    known = read_env(path)
    assert set(known) >= {"CONSOLE_USER", "CONSOLE_PASSWORD"}
    client = OrkestrClient(known["ORKESTR_API_KEY"], known["ORKESTR_BASE_URL"])
    with Sandbox.create(template="debian-12", client=client) as sandbox:
        assert sandbox.exec("echo it runs").stdout == "it runs\n"


def test_it_heals_a_dead_part_and_outlives_its_own_death(kept: Instance) -> None:
    assert kept.make("up", DETACH="1").returncode == 0
    os.kill(kept.living()["asgi"].pid, signal.SIGKILL)
    until(lambda: _is_ready(kept), seconds=40)
    before = kept.living()
    os.kill(before.pop("supervisor").pid, signal.SIGKILL)
    again = kept.make("up", DETACH="1")
    assert again.returncode == 0, again.stdout + again.stderr
    assert not [name for name, each in before.items() if is_alive(each)]
    after = kept.living()
    assert set(after) == PARTS | {"supervisor"}
    os.kill(after.pop("supervisor").pid, signal.SIGKILL)
    assert kept.make("down").returncode == 0
    assert not [name for name, each in after.items() if is_alive(each)]


def _is_ready(instance: Instance) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{instance.port}/readyz", timeout=5).is_success
    except httpx.TransportError:
        return False


def test_ctrl_c_stops_it_while_it_starts(instance: Instance) -> None:
    up = subprocess.Popen(
        ["make", "up"], cwd=checkout(), env=instance.env, stdout=subprocess.DEVNULL
    )
    records = Records(instance.layout.pids)
    until(lambda: records.living("postgres") is not None, seconds=60)
    supervisor, postgres = records.living("supervisor"), records.living("postgres")
    assert supervisor is not None
    assert postgres is not None
    os.kill(supervisor.pid, signal.SIGINT)
    assert up.wait(timeout=60) == 0
    assert not is_alive(postgres)
    assert not instance.living()


def test_a_taken_port_starts_nothing(instance: Instance) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", instance.port))
        taken.listen()
        up = instance.make("up", DETACH="1")
    assert up.returncode != 0
    assert f"Port {instance.port} on 127.0.0.1 is taken" in up.stderr
    assert "PORT=" in up.stderr
    assert not instance.layout.data.exists()


def test_own_servers_out_of_reach_start_nothing(instance: Instance) -> None:
    up = instance.make("up", DETACH="1", DATABASE_URL="postgresql://127.0.0.1:1/none")
    assert up.returncode != 0
    assert "No PostgreSQL answers at the address in DATABASE_URL" in up.stderr
    assert not instance.living()


def test_a_pid_that_now_is_somebody_elses_is_left_alone(instance: Instance) -> None:
    with subprocess.Popen(["sleep", "60"]) as stranger:
        instance.layout.pids.mkdir(parents=True)
        record = {"pid": stranger.pid, "started": 1, "boot": "long ago"}
        (instance.layout.pids / "postgres.json").write_text(json.dumps(record))
        down = instance.make("down")
        assert "Nothing was running" in down.stdout
        assert stranger.poll() is None
        stranger.kill()
