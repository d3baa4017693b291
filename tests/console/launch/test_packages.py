"""console/launch/packages.py and venv.py: nothing is fetched that is there, and failures speak."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from console.launch import checks, node, packages, venv
from console.launch.layout import Layout, checkout
from console.launch.packages import Package
from console.launch.say import Problem

REPOSITORY = checkout()


def test_it_does_not_touch_apt_when_nothing_is_missing(tmp_path: Path) -> None:
    packages.install([Package("there", lambda: True)], log=tmp_path / "apt.log")
    assert not (tmp_path / "apt.log").exists()


def test_it_says_what_apt_could_not_install(tmp_path: Path) -> None:
    absent = Package("no-such-package-anywhere", lambda: False)
    with pytest.raises(Problem, match="could not install no-such-package-anywhere") as caught:
        packages.install([absent], log=tmp_path / "apt.log")
    assert "Unable to locate package" in caught.value.what


def test_it_says_what_to_install_where_there_is_no_apt(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "have", lambda _: False)
    with pytest.raises(Problem, match="These packages are missing: absent"):
        packages.install([Package("absent", lambda: False)], log=tmp_path / "apt.log")


def test_it_says_so_when_the_registry_is_out_of_reach(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(REPOSITORY / "requirements", tmp_path / "requirements")
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    layout = Layout(root=tmp_path, data=tmp_path, templates=tmp_path)
    with pytest.raises(Problem, match="The Python packages could not be installed") as caught:
        venv.make(layout, lock="base.txt", log=tmp_path / "pip.log")
    assert "Check the network" in caught.value.advice
    assert not (tmp_path / ".venv" / "orkestr-lock").exists()


@pytest.mark.parametrize("name", ["base.txt", "dev.txt"])
def test_every_dependency_is_locked_by_hash_and_names_no_address(name: str) -> None:
    text = (REPOSITORY / "requirements" / name).read_text()
    pinned = [line for line in text.splitlines() if "==" in line and not line.startswith("#")]
    assert len(pinned) > 20
    assert text.count("--hash=sha256:") >= len(pinned)
    assert "://" not in text


def test_node_packages_are_left_alone_until_their_lock_changes(tmp_path: Path) -> None:
    layout = Layout(root=tmp_path, data=tmp_path / "var", templates=tmp_path / "templates")
    (tmp_path / "package.json").write_text('{"name": "empty", "private": true}')
    lock = tmp_path / "package-lock.json"
    lock.write_text('{"name": "empty", "lockfileVersion": 3, "packages": {"": {"name": "empty"}}}')
    (tmp_path / "node_modules").mkdir()
    log = tmp_path / "npm.log"
    node.install(layout, log=log)
    log.unlink()
    node.install(layout, log=log)
    assert not log.exists()
    lock.write_text("{broken")
    with pytest.raises(Problem, match="could not be installed"):
        node.install(layout, log=log)
