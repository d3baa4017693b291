"""Programs from a later release: verified, whole or not at all, and a reason when there is none."""

from __future__ import annotations

import hashlib
import subprocess
from pathlib import Path

import pytest

from sandboxes.host.tools import apt
from sandboxes.host.tools.catalog import RUNSC, TOOLS, folder_of
from sandboxes.host.tools.later import Tool, ToolError, find, later_suite, reason

_PACKAGE = "Package: greeter\nVersion: {version}\nArchitecture: all\nMaintainer: nobody\n"


def _archive(folder: Path, *, version: str) -> str:
    """A mirror of one package that nobody has signed; its address."""
    control = folder / "greeter" / "DEBIAN" / "control"
    control.parent.mkdir(parents=True)
    control.write_text(_PACKAGE.format(version=version) + "Description: says hello\n")
    where = folder / "dists" / "sid" / "main" / "binary-all"
    where.mkdir(parents=True)
    deb = f"greeter_{version}_all.deb"
    subprocess.run(
        ["dpkg-deb", "--build", "--root-owner-group", str(folder / "greeter"), str(folder / deb)],
        check=True,
        capture_output=True,
    )
    built = (folder / deb).read_bytes()
    row = _PACKAGE.format(version=version) + f"Filename: {deb}\nSize: {len(built)}\n"
    row += f"SHA256: {hashlib.sha256(built).hexdigest()}\n"
    for packages in (where, where.with_name("binary-amd64")):
        packages.mkdir(exist_ok=True)
        (packages / "Packages").write_text(row)
    (where.parents[1] / "Release").write_text("Codename: sid\nComponents: main\n")
    return f"file:{folder}"


def _greeter(trouble: str | None = None) -> Tool:
    return Tool("greeter", oldest="1.0", trouble=lambda _folder: trouble)


def test_every_tool_is_there_and_is_not_fetched_again(
    templates: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apt, "releases", list)
    for tool in TOOLS:
        folder = later_suite(tool, folder_of(templates))
        assert folder == find(tool, folder_of(templates))
        assert not tool.trouble(folder)


def test_releases_are_the_machines_own_and_later_ones_at_its_own_mirror() -> None:
    releases = apt.releases()
    names = [name for _, name in releases]
    assert names == sorted(names, key=apt.RELEASES.index)
    assert names[-1] == "sid"
    known = apt.run(["apt-get", "indextargets", "--format=$(REPO_URI)"]).split()
    assert {mirror for mirror, _ in releases} <= set(known)


def test_a_package_that_nobody_signed_is_refused_and_the_reason_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mirror = _archive(tmp_path / "mirror", version="2.0")
    monkeypatch.setattr(apt, "releases", lambda: [(mirror, "sid")])
    with pytest.raises(ToolError, match=r"not signed"):
        later_suite(_greeter(), tmp_path / "tools")
    assert "not signed" in reason(_greeter(), tmp_path / "tools")
    assert find(_greeter(), tmp_path / "tools") is None
    assert sorted(path.name for path in (tmp_path / "tools").iterdir()) == [
        ".lock",
        "greeter.failed",
    ]


def test_one_that_is_too_old_or_does_not_work_is_passed_over_and_a_later_one_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = (
        _archive(tmp_path / version, version=version) for version in ("0.9", "2:1.5~beta+x")
    )
    # What is verified, and with which keys, is the test above.
    monkeypatch.setattr(apt, "OPTIONS_OF_SOURCE", "trusted=yes")
    monkeypatch.setattr(apt, "releases", lambda: [(old, "sid")])
    with pytest.raises(ToolError, match=r"sid: 0\.9, and 1\.0 or later is wanted"):
        later_suite(_greeter(), tmp_path / "tools")
    monkeypatch.setattr(apt, "releases", lambda: [(old, "sid"), (new, "sid")])
    with pytest.raises(ToolError, match="greeter does not work here"):
        later_suite(_greeter("greeter does not work here."), tmp_path / "tools")
    folder = later_suite(_greeter(), tmp_path / "tools")
    assert folder.name == "greeter@2%3A1.5~beta+x"
    assert reason(_greeter(), tmp_path / "tools") == "greeter was not fetched yet; run `make up`."


def test_without_a_mirror_it_says_what_is_wanted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(apt, "releases", list)
    with pytest.raises(ToolError, match=r"runsc .* is wanted, and this machine's apt knows no"):
        later_suite(RUNSC, tmp_path)
