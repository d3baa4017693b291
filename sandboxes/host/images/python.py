"""python-3.12: CPython copied from an interpreter of this machine, then common libraries.

Where the machine has none, or none that runs on the template's C library, uv fetches one.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sandboxes.host.images import fetched
from sandboxes.host.images.store import TemplateError
from sandboxes.host.images.workspace import Workspace, run, say

SERIES = "3.12"
ENV = {
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_ROOT_USER_ACTION": "ignore",
    "PYTHONUNBUFFERED": "1",
}
_WANTED = (
    "beautifulsoup4 httpx jinja2 lxml numpy openpyxl pandas pillow pydantic pytest "
    "python-dateutil pyyaml requests rich tabulate tqdm"
)
LIBRARIES = _WANTED.split()
_MUST_IMPORT = "bz2 ctypes curses decimal hashlib lzma readline sqlite3 ssl uuid zlib"
_LEFT_OUT = shutil.ignore_patterns(
    "__pycache__",
    "EXTERNALLY-MANAGED",
    "test",
    "tests",
    "idlelib",
    "turtledemo",
    "tkinter",
    "lib2to3",
    "site-packages",
    "dist-packages",
    "config-*",
    "_test*",
    "_tkinter*",
    "_ctypes_test*",
    "nis.*",
    "xx*",
    "*.a",
)
_ASK = """
import json, sys, sysconfig
print(json.dumps({
    "executable": sys.executable, "prefix": sys.base_prefix, "version": sys.version,
    "stdlib": sysconfig.get_path("stdlib"),
    "shared": bool(sysconfig.get_config_var("Py_ENABLE_SHARED")),
    "libdir": sysconfig.get_config_var("LIBDIR"),
    "library": sysconfig.get_config_var("INSTSONAME"),
}))
"""


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A CPython on this machine, as it describes itself."""

    executable: Path
    prefix: Path
    version: str
    stdlib: Path
    library: Path | None


def describe_bare() -> dict[str, Any]:
    """Which interpreter would be copied; a better or newer one makes a new layer."""
    try:
        version = find().version
    except TemplateError:
        version = ""
    return {"version": 3, "interpreter": version}


def build_bare(workspace: Workspace) -> None:
    """The interpreter, its standard library and pip, in /usr/local."""
    try:
        _put(find(), workspace)
    except (TemplateError, OSError) as error:
        say(f"{workspace.name}: {error} uv is asked for one instead.")
        _put_fetched(workspace, instead_of=error)
    with workspace.step("install pip"):
        install(workspace, ["pip"])
    with workspace.step("compile the library"):
        workspace.chroot("python3", "-m", "compileall", "-q", f"/usr/local/lib/python{SERIES}")


def _put(interpreter: Interpreter, workspace: Workspace) -> None:
    """Copy it and try it. Raises ``TemplateError`` when it does not run in the template."""
    with workspace.step(f"copy CPython {interpreter.version.split()[0]}"):
        _copy(interpreter, workspace.layer)
        workspace.chroot("ldconfig")
    with workspace.step("try it in the template"):
        _try(workspace)


def _put_fetched(workspace: Workspace, *, instead_of: Exception) -> None:
    """Raises ``TemplateError`` with both reasons and what helps against each."""
    shutil.rmtree(workspace.layer)
    workspace.layer.mkdir(mode=0o755)
    try:
        with workspace.step(f"fetch CPython {SERIES}"):
            fetched_one = _ask(fetched.executable(SERIES, scratch=workspace.scratch))
        _put(fetched_one, workspace)
    except (TemplateError, OSError, ValueError, KeyError) as error:
        raise TemplateError(
            f"{instead_of} Fetching one with uv did not work either: {error} "
            "To let uv have one, set UV_PYTHON_INSTALL_MIRROR to a mirror this machine reaches."
        ) from error


def describe() -> dict[str, Any]:
    return {"version": 2, "libraries": LIBRARIES}


def build(workspace: Workspace) -> None:
    """The libraries that generated code imports most."""
    with workspace.step(f"install {len(LIBRARIES)} libraries and what they need"):
        install(workspace, LIBRARIES)
    with workspace.step("compile and try them"):
        site = f"/usr/local/lib/python{SERIES}/site-packages"
        workspace.chroot("python3", "-m", "compileall", "-q", site)
        workspace.chroot("python3", "-c", "import httpx, numpy, pandas, pytest, requests, yaml")


def find() -> Interpreter:
    """The first that answers. Raises ``TemplateError`` when this machine has none."""
    for path in _candidates():
        try:
            return _ask(path)
        except (TemplateError, ValueError, KeyError):
            continue
    raise TemplateError(
        f"No CPython {SERIES} is on this machine; install python{SERIES}, with pyenv for example."
    )


def _candidates() -> Iterator[Path]:
    if sys.version_info[:2] == tuple(map(int, SERIES.split("."))):
        yield Path(sys._base_executable)  # type: ignore[attr-defined]
    homes = {Path.home(), Path(f"/home/{os.environ.get('SUDO_USER') or 'nobody'}")}
    for home in sorted(homes):
        yield from sorted(home.glob(f".pyenv/versions/{SERIES}*/bin/python{SERIES}"), reverse=True)
        yield from sorted(home.glob(f".local/share/uv/python/cpython-{SERIES}*/bin/python{SERIES}"))
    for folder in ("/usr/local/bin", "/opt/python/bin", "/usr/bin"):
        if (path := Path(folder, f"python{SERIES}")).exists():
            yield path
    if found := shutil.which(f"python{SERIES}"):
        yield Path(found)


def _ask(path: Path) -> Interpreter:
    row = json.loads(run([str(path), "-I", "-c", _ASK]).splitlines()[-1])
    if not row["version"].startswith(f"{SERIES}."):
        raise ValueError(row["version"])
    return Interpreter(
        executable=Path(row["executable"]).resolve(),
        prefix=Path(row["prefix"]),
        version=row["version"],
        stdlib=Path(row["stdlib"]),
        library=_library(row),
    )


def _library(row: dict[str, Any]) -> Path | None:
    """One that was moved after it was built still names the folder it was built for."""
    if not row["shared"]:
        return None
    built_for = Path(row["libdir"], row["library"])
    return built_for if built_for.exists() else Path(row["prefix"], "lib", row["library"])


def _copy(interpreter: Interpreter, layer: Path) -> None:
    """It finds its library by where its binary lies, so a copy in /usr/local needs no more."""
    binaries, libraries = layer / "usr/local/bin", layer / "usr/local/lib"
    binaries.mkdir(parents=True)
    libraries.mkdir(parents=True)
    shutil.copy2(interpreter.executable, binaries / f"python{SERIES}")
    for name in ("python3", "python"):
        (binaries / name).symlink_to(f"python{SERIES}")
    if interpreter.library is not None:
        shutil.copy2(interpreter.library, libraries / interpreter.library.name)
    target = libraries / f"python{SERIES}"
    shutil.copytree(interpreter.stdlib, target, ignore=_LEFT_OUT, symlinks=True)
    (target / "site-packages").mkdir()
    for path in target.glob("_sysconfigdata*.py"):
        path.write_text(path.read_text().replace(str(interpreter.prefix), "/usr/local"))
    _own(layer)


def _own(layer: Path) -> None:
    """The interpreter may have belonged to a person of this machine."""
    for folder, _, files in os.walk(layer):
        for name in (".", *files):
            os.lchown(Path(folder, name), 0, 0)


def _try(workspace: Workspace) -> None:
    """Every library it is linked against must be in the template."""
    modules = f"/usr/local/lib/python{SERIES}/lib-dynload"
    script = f"ldd /usr/local/bin/python{SERIES} {modules}/*.so 2>&1 || true"
    missing = sorted(set(re.findall(r"(\S+) => not found", workspace.chroot("sh", "-c", script))))
    if missing:
        raise TemplateError(
            f"The CPython found needs {', '.join(missing)}, which the template lacks; "
            "install one that was built on Debian 12 or older."
        )
    workspace.chroot("python3", "-c", "import " + ", ".join(_MUST_IMPORT.split()))


def install(workspace: Workspace, packages: Sequence[str], *, alone: bool = False) -> None:
    """With this machine's own pip and its configuration, for the template's interpreter.

    ``alone``: just these, because the layers below have what they need.
    """
    site = workspace.layer / f"usr/local/lib/python{SERIES}/site-packages"
    site.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-compile", "--upgrade"]
    command += ["--python-version", SERIES, "--only-binary", ":all:", "--no-warn-conflicts"]
    command += ["--no-deps"] if alone else []
    run([*command, "--target", str(site), *packages])
    _move_scripts(site / "bin", workspace.layer / "usr/local/bin")
    _own(workspace.layer)


def _move_scripts(source: Path, target: Path) -> None:
    """pip leaves them beside the packages, naming the interpreter that ran pip."""
    if not source.is_dir():
        return
    target.mkdir(parents=True, exist_ok=True)
    for path in source.iterdir():
        text = path.read_bytes()
        first, _, rest = text.partition(b"\n")
        if first.startswith(b"#!") and b"python" in first:
            path.write_bytes(f"#!/usr/local/bin/python{SERIES}\n".encode() + rest)
        shutil.move(path, target / path.name)
    source.rmdir()
