"""Compiling the agent."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from sandboxes.host.agent import build as building
from sandboxes.host.agent.build import COMMON, FORTIFIED, SOURCE, STATIC, BuildError, build


@pytest.mark.parametrize("name", ["musl-gcc", "gcc"])
def test_it_compiles_without_a_warning(tmp_path: Path, name: str) -> None:
    tool = shutil.which(name)
    assert tool is not None, f"{name} is missing"
    command = [tool, *COMMON, "-Werror", *STATIC, *FORTIFIED, "-o", str(tmp_path / "agent")]
    sources = [str(path) for path in SOURCE.glob("*.c")]
    done = subprocess.run([*command, *sources], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_it_is_one_file_that_needs_no_library(tmp_path: Path) -> None:
    binary = build(tmp_path / "new" / "agent")
    assert binary.stat().st_mode & 0o111
    elf = binary.read_bytes()
    assert b"ld-linux" not in elf
    assert b"ld-musl" not in elf


def test_it_is_compiled_again_only_when_something_changed(tmp_path: Path) -> None:
    out = tmp_path / "agent"
    before = build(out).stat().st_ino
    assert build(out).stat().st_ino == before
    out.with_name("agent.sha256").write_text("another source")
    assert build(out).stat().st_ino != before
    out.unlink()
    assert build(out).exists()


def test_a_missing_compiler_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(BuildError, match="install musl-tools"):
        build(tmp_path / "agent")


def test_what_the_compiler_says_is_passed_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "broken.c").write_text("int main(void) { return missing; }")
    monkeypatch.setattr(building, "SOURCE", tmp_path)
    with pytest.raises(BuildError, match="missing"):
        build(tmp_path / "agent")
    assert not (tmp_path / "agent").exists()


def test_it_refuses_a_socket_that_does_not_listen(tmp_path: Path) -> None:
    binary = build(tmp_path / "agent")
    for arguments in ([], ["--fd", "0"], ["--fd", "99"], ["--path", "/x" * 100], ["--path"]):
        done = subprocess.run(
            [binary, *arguments],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=10,
            check=False,
        )
        assert done.returncode == 2
        assert b"usage" in done.stderr
