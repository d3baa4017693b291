"""console/launch/checks.py and layout.py: a clear sentence, and what to do."""

from __future__ import annotations

import os
import shutil
import socket
from collections import namedtuple
from pathlib import Path

import pytest

from console.launch import checks
from console.launch.layout import Layout, options_from
from console.launch.say import Problem

Usage = namedtuple("Usage", "total used free")


@pytest.mark.parametrize("release", ["5.15.0-91-generic", "4.19.0-26-amd64", "5.4"])
def test_it_refuses_an_old_kernel(release: str) -> None:
    with pytest.raises(Problem, match=f"The kernel is {release}") as caught:
        checks.kernel(release)
    assert "Debian 12" in caught.value.advice


@pytest.mark.parametrize("release", ["5.19.0", "6.1.0-18-amd64", "6.18.3+", "10.0"])
def test_it_takes_a_new_kernel(release: str) -> None:
    checks.kernel(release)


def test_it_names_a_taken_port_and_another_one() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        number = taken.getsockname()[1]
        with pytest.raises(Problem, match=f"Port {number} on 127.0.0.1 is taken") as caught:
            checks.port("127.0.0.1", number)
    assert "PORT=" in caught.value.advice
    checks.port("127.0.0.1", number)


def test_it_refuses_an_address_of_another_machine() -> None:
    with pytest.raises(Problem, match=r"Cannot listen on 192\.0\.2\.1:8000"):
        checks.port("192.0.2.1", 8000)


def test_it_wants_room_for_templates_and_less_once_they_are_built(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: Usage(0, 0, 2 << 30))
    layout = Layout(root=tmp_path, data=tmp_path / "var", templates=tmp_path / "templates")
    with pytest.raises(Problem, match=r"2\.0 GB free; 5 GB are needed"):
        checks.room(layout)
    layout.templates.mkdir()
    checks.room(layout)


def test_it_refuses_to_go_on_without_root_and_sudo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(Problem, match="needs root, and there is no sudo"):
        checks.root()


def test_it_refuses_a_checkout_that_only_its_owner_can_read(tmp_path: Path) -> None:
    layout = Layout(root=tmp_path, data=tmp_path, templates=tmp_path)
    tmp_path.chmod(0o700)
    with pytest.raises(Problem, match="can be read by its owner only"):
        checks.readable(layout)


@pytest.mark.parametrize("text", ["0", "80", "65536", "-1", "http", "8000 ", "८०००"])
def test_it_refuses_a_port_that_is_none(text: str, tmp_path: Path) -> None:
    with pytest.raises(Problem, match="not a port"):
        options_from({"PORT": text}, root=tmp_path)


def test_it_reads_its_options(tmp_path: Path) -> None:
    options = options_from({"PORT": "9000", "HOST": "::", "DATA": "elsewhere"}, root=tmp_path)
    assert options.layout.data == tmp_path / "elsewhere"
    assert options.base_url == "http://127.0.0.1:9000"
    assert options.is_postgres_embedded
    assert not options_from({"REDIS_URL": "redis://x"}, root=tmp_path).is_valkey_embedded


def test_it_does_not_take_another_instances_address_for_its_own(tmp_path: Path) -> None:
    sourced = {"ORKESTR_BASE_URL": "http://127.0.0.1:8000", "PORT": "9000"}
    assert options_from(sourced, root=tmp_path).base_url == "http://127.0.0.1:9000"
    public = options_from({"BASE_URL": "https://console.example.org/"}, root=tmp_path)
    assert public.base_url == "https://console.example.org"


def test_it_keeps_socket_paths_short_however_deep_the_data_is(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["a-rather-long-folder-name"] * 8)
    options = options_from({"DATA": str(deep)}, root=tmp_path)
    assert len(str(options.layout.run / ".s.PGSQL.5432")) < 60
