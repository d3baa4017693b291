"""Whatever is killed in the middle of a busy run: every event is there, once, in its order."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from redis import Redis
from ulid import ULID

from console.launch import environment
from console.launch.servers import create_database
from tests.stack import Servers
from tests.waiting import until

EVENTS = 1500
SANDBOXES = 6


@dataclass
class Run:
    """Servers of its own, and the processes of one busy run on them."""

    servers: Servers
    folder: Path
    database_url: str
    names: list[str] = field(default_factory=lambda: [f"sbx_{ULID()}" for _ in range(SANDBOXES)])
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def start_worker(self) -> subprocess.Popen[bytes]:
        return self._start("tests.timeline.worker_process")

    def start_host(self) -> subprocess.Popen[bytes]:
        names = ",".join(self.names)
        url = self.servers.redis_url
        return self._start("tests.timeline.host_process", str(self.folder), url, names, str(EVENTS))

    def _start(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        env = {
            **os.environ,
            "DATABASE_URL": self.database_url,
            "REDIS_URL": self.servers.redis_url,
        }
        process = subprocess.Popen([sys.executable, "-m", module, *arguments], env=env)
        self.processes.append(process)
        return process

    def end(self) -> None:
        for process in self.processes:
            process.kill()
            process.wait(10)

    def stored(self) -> int:
        with psycopg.connect(self.database_url) as connection:
            row = connection.execute(
                "SELECT count(*) FROM timeline_event WHERE sandbox_id = ANY(%s)", (self.names,)
            ).fetchone()
        return int(row[0]) if row else 0

    def until_stored(self, count: int) -> None:
        until(lambda: self.stored() >= count, seconds=60, what=f"{count} events are stored")

    def kill_server(self, name: str) -> None:
        self.servers.supervisor.kill(name)

    def start_server(self, name: str) -> None:
        self.servers.supervisor.start(self.servers.parts[name])

    def assert_whole(self) -> None:
        """Sequence 1…N of each sandbox, each with the event that was appended as the Nth."""
        with psycopg.connect(self.database_url) as connection:
            for name in self.names:
                rows = connection.execute(
                    "SELECT seq, data->'number' FROM timeline_event"
                    " WHERE sandbox_id = %s ORDER BY seq",
                    (name,),
                ).fetchall()
                assert rows == [(number, number) for number in range(1, EVENTS + 1)]


@pytest.fixture(scope="module")
def servers_apart() -> Iterator[tuple[Servers, str]]:
    """PostgreSQL and Valkey that nobody minds being killed."""
    servers = Servers()
    try:
        create_database(servers.layout, name="orkestr")
        url = environment.embedded_database_url(servers.layout, name="orkestr")
        command = [sys.executable, "manage.py", "migrate", "timeline"]
        env = {**os.environ, "DATABASE_URL": url}
        subprocess.run(command, env=env, cwd=servers.layout.root, check=True, capture_output=True)
        yield servers, url
    finally:
        servers.close()


@pytest.fixture
def run(servers_apart: tuple[Servers, str], tmp_path: Path) -> Iterator[Run]:
    servers, url = servers_apart
    run = Run(servers, tmp_path, url)
    yield run
    run.end()
    for name in ("postgres", "valkey"):
        if name not in servers.supervisor.running:
            run.start_server(name)


def finish(run: Run, host: subprocess.Popen[bytes]) -> None:
    """The host ends by itself once all of it is stored."""
    assert host.wait(100) == 0
    run.assert_whole()


def kill(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGKILL)
    process.wait(10)


def test_nothing_happens_to_a_run_that_nothing_happens_to(run: Run) -> None:
    worker = run.start_worker()
    finish(run, run.start_host())
    worker.terminate()
    assert worker.wait(10) == 0


def test_workers_are_killed(run: Run) -> None:
    workers = [run.start_worker(), run.start_worker()]
    host = run.start_host()
    for count in (300, 2000, 4000, 6000):
        run.until_stored(count)
        kill(workers.pop(0))
        workers.append(run.start_worker())
    finish(run, host)


def test_the_only_worker_is_stopped_on_the_spot_and_comes_back_to_life(run: Run) -> None:
    frozen = run.start_worker()
    host = run.start_host()
    run.until_stored(300)
    frozen.send_signal(signal.SIGSTOP)
    run.start_worker()
    run.until_stored(4000)
    frozen.send_signal(signal.SIGCONT)
    finish(run, host)


def test_the_host_is_killed(run: Run) -> None:
    run.start_worker()
    host = run.start_host()
    for count in (300, 3000, 5000):
        run.until_stored(count)
        kill(host)
        lost = [run.folder / f"{name}.note" for name in run.names]
        appended_at_least = sum(note.stat().st_size for note in lost)
        run.until_stored(0)
        _forget_unfinished_appends(run)
        assert appended_at_least >= count - SANDBOXES
        host = run.start_host()
    finish(run, host)


def _forget_unfinished_appends(run: Run) -> None:
    """An append may have reached the file without its host living to note it."""
    from timeline.journal import Journal

    for name in run.names:
        journal = Journal(run.folder / name, name)
        numbers = [event.data["number"] for event in journal.scan()]
        journal.close()
        note = run.folder / f"{name}.note"
        if numbers and numbers[-1] == note.stat().st_size + 1:
            with note.open("ab") as file:
                file.write(b".")


@pytest.mark.parametrize("times", [1, 3])
def test_valkey_is_killed(run: Run, times: int) -> None:
    run.start_worker()
    host = run.start_host()
    for time in range(times):
        run.until_stored(300 + 2500 * time)
        run.kill_server("valkey")
        run.start_server("valkey")
    finish(run, host)


def test_valkey_is_killed_and_its_data_deleted(run: Run) -> None:
    run.start_worker()
    host = run.start_host()
    for count in (300, 4000):
        run.until_stored(count)
        run.kill_server("valkey")
        for path in run.servers.layout.valkey.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.suffix != ".conf":
                path.unlink()
        run.start_server("valkey")
    finish(run, host)


def test_valkey_loses_its_memory_while_it_runs(run: Run) -> None:
    run.start_worker()
    host = run.start_host()
    with Redis.from_url(run.servers.redis_url) as redis:
        for count in (300, 2000, 4000, 6000):
            run.until_stored(count)
            redis.flushall()
    finish(run, host)


def test_postgresql_is_killed(run: Run) -> None:
    run.start_worker()
    host = run.start_host()
    for count in (300, 4000):
        run.until_stored(count)
        run.kill_server("postgres")
        run.start_server("postgres")
    finish(run, host)


@pytest.mark.parametrize("forgets", [False, True])
def test_everything_is_killed_at_once(run: Run, forgets: bool) -> None:
    worker, host = run.start_worker(), run.start_host()
    run.until_stored(3000)
    kill(host)
    run.kill_server("valkey")
    kill(worker)
    run.kill_server("postgres")
    if forgets:
        shutil.rmtree(run.servers.layout.valkey / "appendonlydir")
    _forget_unfinished_appends(run)
    restart: list[Callable[[], object]] = [
        lambda: run.start_server("postgres"),
        lambda: run.start_server("valkey"),
        run.start_worker,
    ]
    for start in restart:
        start()
    finish(run, run.start_host())
