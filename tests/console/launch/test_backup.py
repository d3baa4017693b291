"""A dump, restored into a clean database: the same timelines, tokens and sign-ins."""

from __future__ import annotations

import stat
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest
from django.conf import settings
from psycopg import sql

from console.launch import backup
from console.launch.environment import embedded_database_url, read_env, write_env
from console.launch.layout import Options, checkout
from console.launch.say import Problem
from console.launch.servers import create_database
from tests.cast import Cast
from tests.stack import Stack
from timeline.events import Kind, NewEvent
from timeline.services import events_append

NEW = "restored"
ROWS = (
    "SELECT seq, at, kind, actor, span, data FROM timeline_event WHERE sandbox_id = %s ORDER BY seq"
)


@pytest.fixture
def source(stack: Stack, tmp_path: Path) -> Options:
    """The stack as an installation, with its secrets where one keeps them."""
    layout = replace(stack.layout, data=tmp_path / "source")
    layout.data.mkdir()
    secrets = {name: getattr(settings, name) for name in ("SECRET_KEY", "TOKEN_PEPPER")}
    write_env(layout.secrets, secrets)
    return replace(stack.options, layout=layout)


@pytest.fixture
def clean(stack: Stack, tmp_path: Path) -> Iterator[Options]:
    """Another installation, without anything in it, in the same cluster."""
    create_database(stack.layout, name=NEW)
    layout = replace(stack.layout, data=tmp_path)
    url = embedded_database_url(stack.layout, name=NEW)
    yield replace(stack.options, layout=layout, database_url=url)
    root = embedded_database_url(stack.layout, name="postgres")
    with psycopg.connect(root, autocommit=True) as connection:
        drop = sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(NEW))
        connection.execute(drop)


def rows_of(url: str, sandbox_id: str) -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(ROWS, [sandbox_id]).fetchall()


def test_what_was_dumped_is_there_again_to_the_last_event(
    account: Cast,
    source: Options,
    clean: Options,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sandbox_id = account.ended_sandbox()
    events_append(sandbox_id=sandbox_id, events=[NewEvent(kind) for kind in Kind] * 3)
    minted = account.mint()
    file = backup.backup(source, target=tmp_path)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    before = rows_of(source.database_url, sandbox_id)
    assert [row[0] for row in before] == list(range(1, 3 * len(Kind) + 1))

    backup.restore(clean, source=file)
    assert rows_of(clean.database_url, sandbox_id) == before
    assert "without a gap" in capsys.readouterr().out
    secrets = read_env(clean.layout.secrets)
    assert secrets == read_env(source.layout.secrets)
    assert stat.S_IMODE(clean.layout.secrets.stat().st_mode) == 0o600
    assert _knows(clean, secrets, minted.text)

    with pytest.raises(Problem, match="not empty"):
        backup.restore(clean, source=file)


def _knows(options: Options, secrets: dict[str, str], token: str) -> bool:
    """Whether the code of the platform, on that database and with those secrets, takes a token."""
    check = (
        "import sys, django; django.setup()\n"
        "from django.utils import timezone\n"
        "from accounts.models import Token\n"
        "from accounts.tokens import Stored, parse, verify\n"
        "given = parse(sys.stdin.read())\n"
        "row = Token.objects.get(lookup=given.lookup)\n"
        "stored = Stored(row.digest, row.expires_at, row.revoked_at, row.allowed_networks)\n"
        "verify(given, stored, address='127.0.0.1', now=timezone.now())\n"
    )
    env = {
        **secrets,
        "DATABASE_URL": options.database_url,
        "DJANGO_SETTINGS_MODULE": "console.settings",
    }
    python = [str(options.layout.venv_python), "-c", check]
    answer = subprocess.run(
        python, input=token, env=env, cwd=checkout(), text=True, timeout=60, check=False
    )
    return answer.returncode == 0


def test_a_gap_in_a_restored_timeline_is_told(
    account: Cast, source: Options, clean: Options, tmp_path: Path
) -> None:
    sandbox_id = account.ended_sandbox()
    events_append(sandbox_id=sandbox_id, events=[NewEvent(kind) for kind in Kind])
    file = backup.backup(source, target=tmp_path / "one.tar")
    backup.restore(clean, source=file)
    assert backup.verify(clean.database_url)[0] >= 1
    with psycopg.connect(clean.database_url) as connection:
        connection.execute(
            "DELETE FROM timeline_event WHERE sandbox_id = %s AND seq = 2", [sandbox_id]
        )
    with pytest.raises(Problem, match=sandbox_id):
        backup.verify(clean.database_url)


def test_what_is_no_backup_and_secrets_of_others_are_refused(
    source: Options, clean: Options, tmp_path: Path
) -> None:
    odd = tmp_path / "odd.tar"
    odd.write_bytes(b"not a tar")
    with pytest.raises(Problem, match="is no backup"):
        backup.restore(clean, source=odd)
    file = backup.backup(source, target=tmp_path / "good.tar")
    with pytest.raises(Problem, match="is there already"):
        backup.backup(source, target=file)
    clean.layout.secrets.write_text("SECRET_KEY=another\n")
    with pytest.raises(Problem, match="another installation"):
        backup.restore(clean, source=file)
    assert clean.layout.secrets.read_text() == "SECRET_KEY=another\n"
