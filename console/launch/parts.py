"""The processes an instance consists of, in the order of their starts."""

from __future__ import annotations

import asyncio
import http.client
import signal
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from celery import Celery
from kombu.exceptions import OperationalError
from redis.exceptions import RedisError

from console.celery import broker_url
from console.launch import environment, servers
from console.launch.layout import Layout, Options
from console.launch.processes import identify
from console.launch.supervisor import Part
from sandboxes.host.client import HostClient
from sandboxes.host.types import HostError

# On TERM the host would go and leave its sandboxes running for the next one.
HOST_ENDS_SANDBOXES = signal.SIGINT


def postgres(layout: Layout, env: Mapping[str, str]) -> Part:
    """INT is its fast shutdown: open transactions are rolled back, nothing committed is lost."""
    return Part(
        name="postgres",
        argv=[str(servers.postgres_program("postgres")), "-D", str(layout.postgres)],
        env=env,
        as_root=False,
        is_ready=partial(servers.is_embedded_postgres_ready, layout),
        ready_seconds=60,  # after a crash it first reads its log
        stop_signal=signal.SIGINT,
        stop_seconds=30,
    )


def valkey(layout: Layout, env: Mapping[str, str]) -> Part:
    return Part(
        name="valkey",
        argv=[str(servers.valkey_program()), str(servers.prepare_valkey(layout))],
        env=env,
        as_root=False,
        is_ready=partial(servers.is_embedded_valkey_ready, layout),
        ready_seconds=60,
    )


def host(layout: Layout, env: Mapping[str, str]) -> Part:
    return Part(
        name="host",
        argv=[str(layout.venv_python), "-m", "sandboxes.host"],
        env=env,
        as_root=True,
        is_ready=partial(_host_answers, str(layout.host_socket)),
        ready_seconds=60,
        stop_signal=HOST_ENDS_SANDBOXES,
        stop_seconds=60,
    )


def asgi(options: Options, env: Mapping[str, str], *, name: str = "asgi") -> Part:
    """One web server; ``options`` says where it listens."""
    listen = ["--host", options.host, "--port", str(options.port)]
    return Part(
        name=name,
        argv=[str(options.layout.venv_python), "-m", "console.server", *listen],
        env={**environment.of_counted(options.layout, env), "ORKESTR_DATABASE_POOL": "1"},
        as_root=False,
        is_ready=partial(_asgi_answers, options),
    )


def worker(layout: Layout, env: Mapping[str, str], *, name: str = "worker") -> Part:
    """``name`` is also its Celery node name, so several can run beside each other.

    Of its three processes one at most is ever busy with webhooks, which may wait for the network.
    """
    node = f"{name}@{layout.instance}"
    options = ["worker", "--hostname", node, "--concurrency", "3", "--loglevel", "INFO"]
    return Part(
        name=name,
        argv=[*_celery(layout), *options, "--without-gossip", "--without-mingle"],
        env=environment.of_counted(layout, env),
        as_root=False,
        is_ready=partial(_worker_answers, env["REDIS_URL"], node),
        ready_seconds=60,
        stop_seconds=30,
    )


def beat(layout: Layout, env: Mapping[str, str]) -> Part:
    schedule = layout.scratch / "beat-schedule"
    pidfile = layout.scratch / "beat.pid"
    options = ["beat", "--schedule", str(schedule), "--pidfile=", "--loglevel", "INFO"]
    return Part(
        name="beat",
        argv=[*_celery(layout), *options],
        env={**env, "ORKESTR_BEAT_PIDFILE": str(pidfile)},
        as_root=False,
        is_ready=partial(_beat_runs, pidfile),
    )


def all_parts(options: Options, *, secret: Mapping[str, str]) -> list[Part]:
    """What runs after the database is prepared.

    Further web servers listen on the ports that follow, for a proxy to share requests among.

    The host is started after the workers so that it is stopped before them: what it says about
    the end of its sandboxes is still stored.
    """
    layout = options.layout
    env = environment.of_services(options, secret=secret)
    return [
        worker(layout, env),
        *(worker(layout, env, name=f"worker-{n}") for n in range(2, options.workers + 1)),
        beat(layout, env),
        host(layout, environment.of_host(options)),
        asgi(options, env),
        *(
            asgi(replace(options, port=options.port + n - 1), env, name=f"asgi-{n}")
            for n in range(2, options.servers + 1)
        ),
    ]


def _celery(layout: Layout) -> list[str]:
    return [str(layout.venv_python), "-m", "celery", "--app", "console"]


def _host_answers(socket_path: str) -> bool:
    async def ping() -> None:
        await asyncio.wait_for(HostClient(socket_path).ping(), 5)

    try:
        asyncio.run(ping())
    except (HostError, OSError, TimeoutError):
        return False
    return True


def _asgi_answers(options: Options) -> bool:
    connection = http.client.HTTPConnection(reachable(options.host), options.port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()


def reachable(host: str) -> str:
    """The address under which this machine reaches what listens on ``host``."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - compared only


def _worker_answers(redis_url: str, node: str) -> bool:
    """On a connection of its own: a pooled one may be left over from a Valkey that has gone."""
    with Celery("probe", broker=broker_url(redis_url), set_as_current=False) as probe:
        try:
            with probe.connection_for_write() as broker:
                return bool(probe.control.ping(timeout=1, destination=[node], connection=broker))
        except (OperationalError, RedisError, OSError):
            return False


def _beat_runs(pidfile: Path) -> bool:
    try:
        return identify(int(pidfile.read_text())) is not None
    except (OSError, ValueError):
        return False
