"""console/launch/enter.py: into a closed home, without opening it."""

from __future__ import annotations

import pwd
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from console.launch import enter, second
from console.launch.layout import SERVICE_USER
from tests.stack import service_uid

ENTER = Path(enter.__file__)


@pytest.fixture
def home(open_path: Path) -> Iterator[Path]:
    """A closed home with a checkout in it, the way root's own looks on most machines."""
    second.service_user()
    home = open_path / "home"
    checkout = home / "projects" / "checkout"
    checkout.mkdir(parents=True)
    (checkout / "file").write_text("inside")
    (home / "secret").write_text("private")
    home.chmod(0o700)
    yield home
    assert stat.S_IMODE(home.stat().st_mode) == 0o700


def as_service_user(home: Path, *program: str) -> subprocess.CompletedProcess[str]:
    argv = [sys.executable, "-I", "-S", str(ENTER), "--user", SERVICE_USER]
    argv += ["--need", str(home / "projects" / "checkout"), "--need", sys.base_prefix]
    return subprocess.run(
        [*argv, "--", *program], capture_output=True, text=True, timeout=30, check=False
    )


def test_it_reaches_the_checkout_as_the_service_user(home: Path) -> None:
    answer = as_service_user(home, "sh", "-c", "id -u; pwd; cat file")
    checkout = home / "projects" / "checkout"
    assert answer.stdout == f"{service_uid()}\n{checkout}\ninside"


def test_it_shows_nothing_else_of_the_home(home: Path) -> None:
    answer = as_service_user(home, "sh", "-c", f"ls {home} {home}/projects; cat {home}/secret")
    assert "private" not in answer.stdout
    assert "secret" not in answer.stdout
    assert "checkout" in answer.stdout


def test_it_gives_up_every_privilege(home: Path) -> None:
    answer = as_service_user(home, "cat", "/proc/self/status")
    fields = dict(line.split(":\t", 1) for line in answer.stdout.splitlines() if ":\t" in line)
    assert int(fields["CapEff"], 16) == int(fields["CapPrm"], 16) == 0
    assert fields["NoNewPrivs"] == "1"
    assert fields["Groups"].split() == [str(pwd.getpwnam(SERVICE_USER).pw_gid)]


def test_it_writes_only_where_the_user_may(home: Path) -> None:
    answer = as_service_user(home, "sh", "-c", f"touch file; touch {home}/new")
    assert answer.stderr.count("Permission denied") == 2


def test_it_leaves_the_machines_own_mounts_alone(home: Path) -> None:
    before = Path("/proc/self/mounts").read_text()
    as_service_user(home, "true")
    assert str(home) not in before + Path("/proc/self/mounts").read_text()


def test_it_makes_no_namespace_where_nothing_is_closed() -> None:
    assert enter.closed_folders([Path("/usr/bin")], uid=service_uid(), gid=0) == []


def test_it_names_only_the_outermost_closed_folder(home: Path) -> None:
    inner = home / "projects"
    inner.chmod(0o700)
    needs = [inner / "checkout", home / "other"]
    assert enter.closed_folders(needs, uid=service_uid(), gid=12345) == [home]
