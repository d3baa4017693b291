"""`make backup` and `make restore`: the database and the secrets, in one file of root's alone.

The secrets belong to it: without the pepper no token, and without the key no session or signed
link of the database is good for anything.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from console.launch import environment, leftovers, parts, servers
from console.launch.layout import Options
from console.launch.processes import Records
from console.launch.say import Problem, line, step
from console.launch.stopping import Stopping
from console.launch.supervisor import Supervisor

_PARTS = _DUMP, _SECRETS, _ABOUT = "database.dump", "secrets.env", "about.json"
_HOUR = 3600


def backup(options: Options, *, target: Path) -> Path:
    """Writes a file that ``restore`` takes; the installation goes on meanwhile.

    ``target`` is the file, or a folder for one named by the time. Raises ``Problem``.
    """
    stamp = datetime.now(UTC).strftime("%Y%m%d-%H%M%S")
    file = target / f"orkestr-{stamp}.tar" if target.is_dir() else target
    if file.exists():
        raise Problem(f"{file} is there already.", advice="Name another: make backup TO=file.tar")
    secret = environment.read_env(options.layout.secrets)
    if not secret:
        raise Problem(
            f"There are no secrets in {options.layout.secrets}.",
            advice="Name the data folder of the installation: make backup DATA=folder",
        )
    with (
        tempfile.TemporaryDirectory(prefix="orkestr-backup-") as scratch,
        _database(options) as url,
        step(f"backup to {file}"),
    ):
        folder = Path(scratch)
        _run("pg_dump", "--format=custom", "--no-owner", f"--file={folder / _DUMP}", url)
        environment.write_env(folder / _SECRETS, secret)
        about = {"made_at": stamp, "migrations": _migrations(url)}
        (folder / _ABOUT).write_text(json.dumps(about, indent=2))
        _pack(file, folder)
    return file


def restore(options: Options, *, source: Path) -> None:
    """Puts a backup into a clean database, and its secrets into the data folder.

    Nothing is overwritten. Raises ``Problem``.
    """
    if Records(options.layout.pids).living(leftovers.SUPERVISOR) is not None:
        raise Problem("The installation runs.", advice="Stop it first: make down")
    with tempfile.TemporaryDirectory(prefix="orkestr-restore-") as scratch:
        _unpack(source, Path(scratch))
        secret = environment.read_env(Path(scratch) / _SECRETS)
        _check_secrets(options, secret)
        with _database(options) as url, step("database"):
            _check_clean(url)
            _run(
                "pg_restore",
                "--no-owner",
                "--exit-on-error",
                "--single-transaction",
                f"--dbname={url}",
                str(Path(scratch) / _DUMP),
            )
            runs, events = verify(url)
        environment.write_env(options.layout.secrets, secret)
    line(f"  {events} events of {runs} runs are there, each numbered without a gap.")


_GAPS = """
SELECT h.sandbox_id FROM timeline_head h
LEFT JOIN sandboxes_sandbox s ON s.id = h.sandbox_id
LEFT JOIN (
    SELECT sandbox_id, count(*) AS many, min(seq) AS first, max(seq) AS last
    FROM timeline_event GROUP BY sandbox_id
) e ON e.sandbox_id = h.sandbox_id
WHERE s.timeline_removed_at IS NULL
  AND (h.seq <> COALESCE(e.many, 0) OR h.seq > 0 AND (e.first <> 1 OR e.last <> h.seq))
ORDER BY h.sandbox_id LIMIT 10
"""


def verify(url: str) -> tuple[int, int]:
    """How many runs and events there are. Raises ``Problem`` when a timeline has a gap."""
    with psycopg.connect(url) as connection:
        broken = [row[0] for row in connection.execute(_GAPS)]
        if broken:
            raise Problem(
                f"Timelines with a gap: {', '.join(broken)}.",
                advice="The backup is damaged; restore an earlier one into a clean database.",
            )
        counts = connection.execute(
            "SELECT (SELECT count(*) FROM timeline_head), (SELECT count(*) FROM timeline_event)"
        ).fetchone()
    assert counts is not None  # noqa: S101 - an aggregate always has a row
    return counts[0], counts[1]


def _pack(file: Path, folder: Path) -> None:
    """Whole or not at all, and readable by root alone from its first byte on."""
    unfinished = file.with_name(f".{file.name}.new")
    unfinished.unlink(missing_ok=True)
    descriptor = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        with tarfile.open(fileobj=out, mode="w") as tar:
            for name in _PARTS:
                tar.add(folder / name, name)
        out.flush()
        os.fsync(out.fileno())
    unfinished.replace(file)


def _unpack(source: Path, folder: Path) -> None:
    try:
        with tarfile.open(source) as tar:
            for name in _PARTS:
                _take(tar, name, folder)
    except (OSError, KeyError, tarfile.TarError) as error:
        raise Problem(
            f"{source} is no backup of this platform: {error}",
            advice="Name what `make backup` wrote: make restore FROM=file.tar",
        ) from error


def _take(tar: tarfile.TarFile, name: str, folder: Path) -> None:
    """Its bytes alone: neither owner, mode nor link of what is in there counts for anything."""
    member = tar.extractfile(name)
    if member is None:
        raise KeyError(name)
    with (folder / name).open("wb") as file:
        shutil.copyfileobj(member, file)


def _check_secrets(options: Options, wanted: Mapping[str, str]) -> None:
    known = environment.read_env(options.layout.secrets)
    if known and {**known, **wanted} != known:
        raise Problem(
            f"{options.layout.secrets} has the secrets of another installation.",
            advice="Restore into a data folder of its own: make restore DATA=folder FROM=file.tar",
        )


def _check_clean(url: str) -> None:
    with psycopg.connect(url) as connection:
        found = connection.execute(
            "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
        ).fetchone()
    if found and found[0]:
        raise Problem(
            "The database is not empty.",
            advice="Restore into a new data folder (DATA=folder) or a new database (DATABASE_URL).",
        )


def _migrations(url: str) -> dict[str, str]:
    """The newest of each application, for whoever wonders which release a backup is of."""
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT app, max(name) FROM django_migrations GROUP BY app")
        return dict(rows.fetchall())


@contextmanager
def _database(options: Options) -> Iterator[str]:
    """Its address; the embedded server is started for it where it does not run."""
    layout = options.layout
    if not options.is_postgres_embedded:
        if not servers.is_postgres_ready(options.database_url):
            raise Problem(
                "No PostgreSQL answers at the address in DATABASE_URL.", advice="Start it first."
            )
        yield options.database_url
        return
    url = environment.embedded_database_url(layout, name="orkestr")
    if servers.is_embedded_postgres_ready(layout):
        yield url
        return
    supervisor = Supervisor(layout, stopping=Stopping())
    servers.make_folders(layout)
    servers.prepare_postgres(layout)
    try:
        supervisor.start(parts.postgres(layout, environment.of_host(options)))
        servers.create_database(layout, name="orkestr")
        yield url
    finally:
        supervisor.stop_all()


def _run(program: str, *arguments: str) -> None:
    """One of PostgreSQL's own programs; the address is among its arguments, so it is not shown."""
    command = [str(servers.postgres_program(program)), *arguments]
    answer = subprocess.run(
        command, capture_output=True, text=True, timeout=12 * _HOUR, check=False
    )
    if answer.returncode != 0:
        raise Problem(
            f"{program} failed: {answer.stderr.strip()[-2000:]}",
            advice="Nothing was changed. Mend what it says and try again.",
        )
