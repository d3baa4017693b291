"""console/launch/environment.py: secrets stay, and stay secret."""

from __future__ import annotations

import socket
import stat
import subprocess
from pathlib import Path

import pytest

from console.launch import environment
from console.launch.layout import EVERY_ADDRESS, Layout, options_from

AWKWARD = {"PLAIN": "x", "SPACED": "a b", "QUOTED": 'it\'s "so" $HOME `id`', "EMPTY": ""}


def test_it_makes_secrets_once(tmp_path: Path) -> None:
    layout = Layout(root=tmp_path, data=tmp_path, templates=tmp_path)
    first = environment.instance_secrets(layout)
    assert set(first) == {"SECRET_KEY", "TOKEN_PEPPER"}
    assert len(set(first.values())) == 2
    assert environment.instance_secrets(layout) == first
    assert stat.S_IMODE(layout.secrets.stat().st_mode) == 0o600


def test_it_reads_what_it_wrote(tmp_path: Path) -> None:
    for export in (False, True):
        environment.write_env(tmp_path / "env", AWKWARD, export=export)
        assert environment.read_env(tmp_path / "env") == AWKWARD


def test_a_shell_can_source_what_it_wrote(tmp_path: Path) -> None:
    environment.write_env(tmp_path / "dev.env", AWKWARD, export=True)
    script = f'source {tmp_path}/dev.env; printf "%s" "$QUOTED"; env | grep -c "^SPACED=a b$"'
    shell = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True)
    assert shell.stdout == AWKWARD["QUOTED"] + "1\n"


def test_it_narrows_a_file_that_was_wide_open(tmp_path: Path) -> None:
    path = tmp_path / "dev.env"
    path.write_text("OLD=1\n")
    path.chmod(0o644)
    environment.write_env(path, {"NEW": "2"})
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_the_root_daemon_is_told_neither_secrets_nor_the_database(tmp_path: Path) -> None:
    options = options_from({}, root=tmp_path)
    told = environment.of_host(options)
    assert not {"SECRET_KEY", "TOKEN_PEPPER", "DATABASE_URL"} & set(told)


def test_own_servers_replace_the_embedded_ones(tmp_path: Path) -> None:
    own = {"DATABASE_URL": "postgresql://db.example.org/x", "REDIS_URL": "redis://r.example.org"}
    options = options_from(own, root=tmp_path)
    secret = {"SECRET_KEY": "a", "TOKEN_PEPPER": "b"}
    told = environment.of_services(options, secret=secret)
    assert {name: told[name] for name in own} == own


def test_webhooks_may_reach_this_machine_unless_told_otherwise(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = {"SECRET_KEY": "a", "TOKEN_PEPPER": "b"}
    options = options_from({}, root=tmp_path)
    name = "ORKESTR_WEBHOOK_ALLOW_LOOPBACK"
    monkeypatch.delenv(name, raising=False)
    assert environment.of_services(options, secret=secret)[name] == "1"
    monkeypatch.setenv(name, "0")
    assert environment.of_services(options, secret=secret)[name] == "0"
    assert name not in environment.of_host(options)


def test_it_answers_to_every_address_it_listens_on(tmp_path: Path) -> None:
    secret = {"SECRET_KEY": "a", "TOKEN_PEPPER": "b"}
    everywhere = options_from({"HOST": EVERY_ADDRESS[0]}, root=tmp_path)
    names = environment.of_services(everywhere, secret=secret)["ORKESTR_ALLOWED_HOSTS"].split(",")
    assert {socket.gethostname(), "127.0.0.1"} <= set(names)
    here = options_from({}, root=tmp_path)
    assert environment.of_services(here, secret=secret)["ORKESTR_ALLOWED_HOSTS"] == ""
