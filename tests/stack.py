"""The whole platform as real processes, for tests: started when first asked for, ended by pid."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from django.conf import settings
from django.db import connections

from console.launch import environment, leftovers, parts, second, servers
from console.launch.layout import SERVICE_USER, Layout, Options, checkout
from console.launch.processes import Records, identify
from console.launch.say import Problem
from console.launch.stopping import Stopping
from console.launch.supervisor import Part, Supervisor, as_service
from tests.loops import no_running_loop
from tests.waiting import free_port, until

_PREFIX = "orkestr-test-"
_OWNER = "tests"
_RESTART_SECONDS = 60
_SERVERS = ("postgres", "valkey")
# What a killed process has written stays written; only a machine that goes down would lose it.
_UNSYNCED = "fsync = off\nfull_page_writes = off\n"


class Servers:
    """PostgreSQL and Valkey in a folder of their own; the rest of a stack is added to it.

    ``synced``: PostgreSQL waits for the disk as it does where it serves; whoever measures wants it.
    """

    def __init__(self, *, synced: bool = False) -> None:
        end_abandoned()
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX))
        folder.chmod(0o755)
        root = checkout()
        templates = Path(os.environ.get("ORKESTR_TEMPLATES_DIR") or root / "var" / "templates")
        self.layout = Layout(root=root, data=folder, templates=templates.resolve())
        port = free_port()
        self.options = Options(
            layout=self.layout,
            host="127.0.0.1",
            port=port,
            database_url="",
            redis_url="",
            base_url=f"http://127.0.0.1:{port}",
        )
        second.service_user()
        servers.make_folders(self.layout)
        # Sandboxes made ahead are for speed; one a size keeps the machine free for the tests.
        os.environ.setdefault("ORKESTR_READY_SANDBOXES", "1")
        # A webhook that is tried again, or waits for an answer, does so in less than a test's time.
        os.environ.setdefault("ORKESTR_WEBHOOK_RETRY_SECONDS", "0.3")
        os.environ.setdefault("ORKESTR_WEBHOOK_TIMEOUT_SECONDS", "5")
        me = identify(os.getpid())
        assert me is not None
        Records(folder).save(_OWNER, me)
        self.supervisor = Supervisor(self.layout, stopping=Stopping())
        self.parts: dict[str, Part] = {}
        self._start_servers(synced=synced)

    @property
    def redis_url(self) -> str:
        return environment.redis_url(self.options)

    def database_url(self, name: str) -> str:
        """Of one database of the cluster."""
        return environment.embedded_database_url(self.layout, name=name)

    def close(self) -> None:
        """Stops all of it and leaves nothing behind."""
        self.supervisor.stop_all()
        shutil.rmtree(self.layout.run, ignore_errors=True)
        shutil.rmtree(self.layout.data, ignore_errors=True)

    def _start_servers(self, *, synced: bool) -> None:
        env = environment.of_host(self.options)
        servers.prepare_postgres(self.layout)
        if not synced:
            own = self.layout.postgres / "own.conf"
            own.write_text(_UNSYNCED)
            own.chmod(0o644)
        for part in (parts.postgres(self.layout, env), parts.valkey(self.layout, env)):
            self.parts[part.name] = part
            self.supervisor.start(part)


class Stack:
    """Sandbox host, Celery worker and beat, and the ASGI server beside the ``Servers``.

    They work on the test run's own database and share its secrets, so that what a test makes
    in-process (an account, a token) is good for them too.
    """

    def __init__(self, servers_: Servers, *, database: str) -> None:
        self.servers = servers_
        self.layout = servers_.layout
        self.options = replace(servers_.options, database_url=servers_.database_url(database))
        self._supervisor = servers_.supervisor
        self._prepare()
        for part in parts.all_parts(self.options, secret=self._secret()):
            self.servers.parts[part.name] = part

    def open(self) -> None:
        """Starts all but the servers, which run."""
        own = self.servers.parts.items()
        with no_running_loop():
            self._supervisor.start(*(part for name, part in own if name not in _SERVERS))

    def close(self) -> None:
        """Stops all but the servers, whose database is then free to be dropped."""
        for name in list(reversed(self._supervisor.running)):
            if name not in _SERVERS:
                self._supervisor.stop(name)
        connections.close_all()

    @property
    def url(self) -> str:
        """Where the console and `/v1` answer."""
        return self.options.base_url

    @property
    def redis_url(self) -> str:
        return self.servers.redis_url

    @property
    def database_url(self) -> str:
        return self.options.database_url

    @property
    def host_socket(self) -> Path:
        return self.layout.host_socket

    def pid(self, name: str) -> int:
        """Of a running part: postgres, valkey, host, worker, beat or asgi."""
        return self._supervisor.running[name].identity.pid

    def memory(self, name: str) -> int:
        """Bytes that are this part's alone, its children's among them."""
        process = psutil.Process(self.pid(name))
        total = int(process.memory_full_info().uss)
        for child in process.children(recursive=True):
            with suppress(psutil.NoSuchProcess):
                total += int(child.memory_full_info().uss)
        return total

    def log(self, name: str) -> str:
        """What a part has written so far."""
        return self._supervisor.log_of(name).read_text(errors="replace")

    def kill(self, name: str) -> None:
        """As a fault would: at once, without a warning. It stays down until ``start``."""
        self._supervisor.kill(name)
        self._forget_connections(name)

    def stop(self, name: str) -> None:
        """As an operator would."""
        self._supervisor.stop(name)
        self._forget_connections(name)

    def start(self, name: str) -> None:
        """Returns when it is ready; tries again while remains of a killed one are in its way."""

        def started() -> bool:
            try:
                with no_running_loop():
                    self._supervisor.start(self.servers.parts[name])
            except Problem:
                self._supervisor.stop(name)
                return False
            return True

        until(started, seconds=_RESTART_SECONDS, what=f"{name} starts again")

    def restart(self, name: str) -> None:
        """A fault and the supervisor's answer to it."""
        self.kill(name)
        self.start(name)

    def add_worker(self, name: str) -> None:
        """Another Celery worker beside the first; ``kill`` and ``stop`` know it by its name."""
        env = environment.of_services(self.options, secret=self._secret())
        self.servers.parts[name] = parts.worker(self.layout, env, name=name)
        self._supervisor.start(self.servers.parts[name])

    def revive(self) -> None:
        """Starts whatever an earlier test left dead, and ends what it added."""
        running = self._supervisor.running
        for name in [name for name in running if name.startswith("worker-")]:
            self.stop(name)
        for name in ("postgres", "valkey", "host", "worker", "beat", "asgi"):
            if name not in running:
                self.start(name)
            elif identify(self.pid(name)) is None:
                self.stop(name)
                self.start(name)
        connections.close_all()

    def _secret(self) -> Mapping[str, str]:
        return {"SECRET_KEY": settings.SECRET_KEY, "TOKEN_PEPPER": settings.TOKEN_PEPPER}

    def _prepare(self) -> None:
        """Static files and the catalogue; the tables are there already."""
        python = str(self.layout.venv_python)
        env = environment.of_services(self.options, secret=self._secret())
        step = [python, "-m", "console.launch.prepare", "tests"]
        subprocess.run(as_service(self.layout, step), env=env, check=True, capture_output=True)

    def _forget_connections(self, name: str) -> None:
        if name == "postgres":
            connections.close_all()


def use(servers_: Servers) -> None:
    """Points this process's Django and Celery at these servers, before either has connected."""
    database = settings.DATABASES["default"]
    url = {"USER": SERVICE_USER, "HOST": str(servers_.layout.run), "PORT": "", "NAME": "orkestr"}
    database.update(url)
    settings.REDIS_URL = servers_.redis_url
    settings.ORKESTR_HOST_SOCKET = str(servers_.layout.host_socket)
    layers: dict[str, Any] = settings.CHANNEL_LAYERS
    layers["default"]["CONFIG"]["hosts"][0]["address"] = servers_.redis_url
    os.environ["REDIS_URL"] = servers_.redis_url
    from console.celery import app, broker_url

    app.conf.broker_url = broker_url(servers_.redis_url)


def end_abandoned() -> None:
    """Ends and removes what a test run that was killed left behind."""
    for folder in Path(tempfile.gettempdir()).glob(f"{_PREFIX}*"):
        records = Records(folder)
        if records.load(_OWNER) is not None and records.living(_OWNER) is None:
            layout = Layout(root=checkout(), data=folder, templates=folder)
            leftovers.stop(layout)
            shutil.rmtree(layout.run, ignore_errors=True)
            shutil.rmtree(folder, ignore_errors=True)


def service_uid() -> int:
    """The unprivileged user's."""
    return pwd.getpwnam(SERVICE_USER).pw_uid
