"""A suite of the distribution as this machine's own mirror has it, through a private apt.

The mirror's address is what the machine's apt is configured with, asked at run time. Lists and
packages are verified with the archive keys that are installed here; the system's own lists,
packages and sources are neither changed nor read.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
#: Releases of Debian by name, oldest first; the last one always moves.
RELEASES = ("bookworm", "trixie", "forky", "sid")
#: What a machine's sources may call its release instead of its name.
_ALIASES = {"oldstable": RELEASES, "stable": RELEASES, "testing": RELEASES, "unstable": ("sid",)}
#: Nothing is taken that the archive's keys have not signed.
OPTIONS_OF_SOURCE = f"signed-by={KEYRING}"
_COMMAND_SECONDS = 600
_TAIL_LINES = 4
_UNREAD = ("Translations", "DEP-11", "DEP-11-icons-small", "DEP-11-icons", "Contents-deb")


class AptError(Exception):
    """Why a package could not be had of a suite: one sentence."""


def releases() -> list[tuple[str, str]]:
    """(mirror, release) of this machine's Debian sources: its own release, then later ones."""
    found: list[tuple[str, str]] = []
    form = "--format=$(CREATED_BY) $(REPO_URI) $(RELEASE) $(COMPONENT)"
    for line in run(["apt-get", "indextargets", form]).splitlines():
        words = line.split()
        if len(words) != 4 or words[0] != "Packages" or words[3] != "main":
            continue
        known = _ALIASES.get(words[2], RELEASES)
        first = known.index(words[2]) if words[2] in known else 0
        if words[2] in (*RELEASES, *_ALIASES):
            found += [(words[1], release) for release in known[first:]]
    return sorted(dict.fromkeys(found), key=lambda pair: RELEASES.index(pair[1]))


class Suite:
    """One suite of one mirror; ``scratch`` keeps its lists and what is downloaded."""

    def __init__(self, mirror: str, release: str, scratch: Path) -> None:
        self.release = release
        self._scratch = scratch
        self._options = self._prepare(f"deb [{OPTIONS_OF_SOURCE}] {mirror} {release} main\n")

    def _prepare(self, source: str) -> list[str]:
        folders = {"State::lists": "lists/partial", "Cache": "cache/archives/partial"}
        for folder in (*folders.values(), "debs"):
            (self._scratch / folder).mkdir(parents=True)
        sources, status = self._scratch / "sources.list", self._scratch / "status"
        sources.write_text(source)
        status.touch()
        settings = {
            "Dir::Etc::sourcelist": str(sources),
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State::lists": str(self._scratch / "lists"),
            "Dir::State::status": str(status),
            "Dir::Cache": str(self._scratch / "cache"),
            "APT::Sandbox::User": "root",
            "APT::Get::List-Cleanup": "false",
            "APT::Update::Error-Mode": "any",
            "Acquire::Languages": "none",
            "Acquire::PDiffs": "false",
            "Acquire::Retries": "3",
        }
        unread = {f"Acquire::IndexTargets::deb::{name}::DefaultEnabled": "no" for name in _UNREAD}
        return [f"-o{name}={value}" for name, value in {**settings, **unread}.items()]

    def update(self) -> None:
        """Get and verify its lists. Raises ``AptError``."""
        run(["apt-get", "-q", "update", *self._options])

    def version(self, package: str) -> str | None:
        """The version it has of a package."""
        shown = run(["apt-cache", "policy", *self._options, package])
        match = re.search(r"^  Candidate: (?!\(none\))(\S+)$", shown, re.MULTILINE)
        return match[1] if match else None

    def extract(self, package: str, target: Path, *, with_libraries: bool) -> None:
        """Download a package, on request with all that it depends on, and unpack it."""
        if with_libraries:
            self._download_with_libraries(package)
        else:
            run(["apt-get", "-q", "download", *self._options, package], cwd=self._scratch / "debs")
        found = [*self._scratch.glob("debs/*.deb"), *self._scratch.glob("cache/archives/*.deb")]
        if not found:
            raise AptError(f"apt-get downloaded nothing for {package}.")
        for archive in found:
            run(["dpkg-deb", "--extract", str(archive), str(target)])

    def _download_with_libraries(self, package: str) -> None:
        """For apt nothing is installed in here, so that it brings the C library too."""
        install = ["apt-get", "-q", "--yes", "--download-only", "--no-install-recommends"]
        run([*install, *self._options, "install", package])


def is_at_least(version: str, oldest: str) -> bool:
    """Compares versions of Debian packages."""
    command = ["dpkg", "--compare-versions", version, "ge", oldest]
    return subprocess.run(command, check=False).returncode == 0


def run(command: Sequence[str], *, cwd: Path | None = None) -> str:
    """Its output. Raises ``AptError`` with the end of what a failing command said."""
    try:
        done = subprocess.run(
            command,
            env={**os.environ, "LC_ALL": "C.UTF-8", "DEBIAN_FRONTEND": "noninteractive"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=_COMMAND_SECONDS,
            cwd=cwd,
            check=False,
        )
    except FileNotFoundError as error:
        raise AptError(f"{command[0]} is not on this machine.") from error
    except subprocess.TimeoutExpired as error:
        raise AptError(f"{command[0]} did not end within {_COMMAND_SECONDS} s.") from error
    if done.returncode:
        tail = " | ".join(done.stdout.strip().splitlines()[-_TAIL_LINES:])
        raise AptError(f"{command[0]} failed with status {done.returncode}: {tail}")
    return done.stdout
