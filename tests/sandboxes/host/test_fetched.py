"""The Python templates on a machine without their CPython, from a mirror of the test's own."""

from __future__ import annotations

import hashlib
import json
import platform
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from sandboxes.host.images import python
from sandboxes.host.images.python import Interpreter
from sandboxes.host.images.store import Store, TemplateError
from sandboxes.host.images.workspace import Workspace

_UNWANTED = {"test", "site-packages", "__pycache__", "idlelib", "ensurepip"}


@pytest.fixture
def workspace(tmp_path: Path, templates: Path) -> Workspace:
    """An empty layer on the real base."""
    below = Store(templates).paths(Store(templates).load("debian-12"))
    layer = tmp_path / "layer"
    layer.mkdir()
    return Workspace("python-3.12-bare", layer, tmp_path, below)


@pytest.fixture
def mirror(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Interpreter]:
    """One archive with this machine's interpreter, which is then found nowhere else."""
    found = python.find()
    archive = tmp_path / "cpython.tar.gz"
    _pack(found, archive)
    listing = tmp_path / "downloads.json"
    listing.write_text(json.dumps(_listing(found, archive)))
    monkeypatch.setenv("UV_PYTHON_DOWNLOADS_JSON_URL", str(listing))
    monkeypatch.setattr(python, "_candidates", lambda: iter(()))
    yield found
    archive.unlink()


def _pack(interpreter: Interpreter, archive: Path) -> None:
    def wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if Path(entry.name).name in _UNWANTED else entry

    with tarfile.open(archive, "w:gz", compresslevel=1) as tar:
        tar.add(interpreter.executable, f"python/bin/python{python.SERIES}")
        tar.add(interpreter.stdlib, f"python/lib/python{python.SERIES}", filter=wanted)
        if interpreter.library is not None:
            tar.add(interpreter.library, f"python/lib/{interpreter.library.name}")


def _listing(interpreter: Interpreter, archive: Path) -> dict[str, object]:
    """What uv reads to know which interpreters there are, and where."""
    version = interpreter.version.split()[0]
    major, minor, patch = map(int, version.split("."))
    row = {
        "name": "cpython",
        "arch": {"family": platform.machine(), "variant": None},
        "os": "linux",
        "libc": "gnu",
        "major": major,
        "minor": minor,
        "patch": patch,
        "prerelease": "",
        "url": archive.as_uri(),
        "sha256": hashlib.sha256(archive.read_bytes()).hexdigest(),
        "variant": None,
        "build": "1",
    }
    return {f"cpython-{version}-linux-{platform.machine()}-gnu": row}


def test_an_interpreter_is_fetched_where_there_is_none(
    workspace: Workspace, mirror: Interpreter
) -> None:
    python.build_bare(workspace)
    asked = workspace.chroot("python3", "-c", "import pip, sys; print(sys.version)").strip()
    assert asked == mirror.version
    library = workspace.layer / f"usr/local/lib/python{python.SERIES}"
    assert not (library / "EXTERNALLY-MANAGED").exists()


def test_an_interpreter_that_does_not_run_in_the_template_is_replaced(
    workspace: Workspace, mirror: Interpreter, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = workspace.scratch / f"python{python.SERIES}"
    broken.write_text("#!/of/a/newer/library\n")
    broken.chmod(0o755)
    unfit = Interpreter(broken, mirror.prefix, mirror.version, mirror.stdlib, None)
    monkeypatch.setattr(python, "find", lambda: unfit)
    python.build_bare(workspace)
    assert workspace.chroot("python3", "-c", "import sys; print(sys.version)").strip()


def test_a_reason_says_what_to_install_and_what_to_set(
    workspace: Workspace, mirror: Interpreter, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("UV_PYTHON_DOWNLOADS_JSON_URL")
    monkeypatch.setenv("UV_PYTHON_INSTALL_MIRROR", (workspace.scratch / "nothing").as_uri())
    with pytest.raises(TemplateError) as error:
        python.build_bare(workspace)
    for words in (f"install python{python.SERIES}", "UV_PYTHON_INSTALL_MIRROR", "uv did not work"):
        assert words in str(error.value)
    assert mirror.version not in str(error.value)


def test_what_is_fetched_does_not_make_the_template_outdated(mirror: Interpreter) -> None:
    assert mirror.version
    assert python.describe_bare()["interpreter"] == ""
