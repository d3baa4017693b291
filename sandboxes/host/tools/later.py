"""Tools in a folder of ours: each whole or not at all, and why one is not there.

``<name>@<version>/`` is a package unpacked, ``<name>`` a link to the one in use,
``<name>.failed`` the reason why the last try failed.
"""

from __future__ import annotations

import fcntl
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, unquote

from sandboxes.host.tools import apt

_SCRATCH = "fetching-"


class ToolError(Exception):
    """Why a tool cannot be had: one sentence that says what to do."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A program wanted of the Debian package ``name``, of version ``oldest`` or later.

    ``trouble`` tries what was unpacked into a folder and says as a sentence why it will not do.
    ``with_libraries`` brings all that the package depends on, the C library included, for a
    program that is then started through the loader in that folder.
    """

    name: str
    oldest: str
    trouble: Callable[[Path], str | None]
    with_libraries: bool = False


def find(tool: Tool, directory: Path) -> Path | None:
    """The folder a tool was unpacked into, in the folder of tools ``directory``."""
    link = directory / tool.name
    return link.resolve() if link.is_dir() else None


def reason(tool: Tool, directory: Path) -> str:
    """Why a tool is not there."""
    try:
        return (directory / f"{tool.name}.failed").read_text().strip()
    except FileNotFoundError:
        return f"{tool.name} was not fetched yet; run `make up`."


def later_suite(tool: Tool, directory: Path) -> Path:
    """The tool's folder: as it is, or fetched from the first release that has one that will do.

    Raises ``ToolError``, whose sentence is kept for ``reason``.
    """
    directory.mkdir(parents=True, exist_ok=True, mode=0o755)
    with _lock(directory):
        folder = find(tool, directory)
        if folder is not None and _version_will_do(tool, folder) and not tool.trouble(folder):
            return folder
        try:
            folder = _fetch(tool, directory)
        except (ToolError, apt.AptError, OSError) as error:
            (directory / f"{tool.name}.failed").write_text(f"{error}\n")
            raise ToolError(str(error)) from error
        _point(tool, folder, directory)
        return folder


def _version_will_do(tool: Tool, folder: Path) -> bool:
    return apt.is_at_least(unquote(folder.name.partition("@")[2]), tool.oldest)


def _fetch(tool: Tool, directory: Path) -> Path:
    if not apt.KEYRING.exists():
        raise ToolError("Debian's archive keys are missing here; install debian-archive-keyring.")
    releases = apt.releases()
    if not releases:
        raise ToolError(
            f"{tool.name} {tool.oldest} or later is wanted, and this machine's apt knows no mirror "
            "of Debian to get it from."
        )
    tried = []
    for mirror, release in releases:
        with tempfile.TemporaryDirectory(prefix=_SCRATCH, dir=directory) as scratch:
            try:
                suite = apt.Suite(mirror, release, Path(scratch))
                return _from_suite(tool, suite, Path(scratch) / "out", directory)
            except (ToolError, apt.AptError) as error:
                tried.append(f"{release}: {error}")
    raise ToolError(f"No release of Debian has a {tool.name} that will do. {' '.join(tried)}")


def _from_suite(tool: Tool, suite: apt.Suite, out: Path, directory: Path) -> Path:
    suite.update()
    version = suite.version(tool.name)
    if version is None or not apt.is_at_least(version, tool.oldest):
        raise ToolError(f"{version or 'none'}, and {tool.oldest} or later is wanted.")
    out.mkdir(mode=0o755)
    suite.extract(tool.name, out, with_libraries=tool.with_libraries)
    if trouble := tool.trouble(out):
        raise ToolError(trouble)
    # A colon would end a path in a search path.
    folder = directory / f"{tool.name}@{quote(version, safe='~+')}"
    shutil.rmtree(folder, ignore_errors=True)
    return out.rename(folder)


def _point(tool: Tool, folder: Path, directory: Path) -> None:
    new = directory / f".{tool.name}.new"
    new.unlink(missing_ok=True)
    new.symlink_to(folder.name)
    new.rename(directory / tool.name)
    (directory / f"{tool.name}.failed").unlink(missing_ok=True)


@contextmanager
def _lock(directory: Path) -> Iterator[None]:
    """One at a time, also between two installations that share the folder; sweeps first."""
    with (directory / ".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        for leftover in directory.glob(f"{_SCRATCH}*"):
            shutil.rmtree(leftover, ignore_errors=True)
        yield
