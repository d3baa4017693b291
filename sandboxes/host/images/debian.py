"""debian-12: the distribution's own packages, by mmdebstrap, from this machine's own mirror."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

from sandboxes.host.images.store import TemplateError
from sandboxes.host.images.workspace import CA_BUNDLE, Workspace, run

SUITE = "bookworm"
ENV = {
    "SSL_CERT_FILE": str(CA_BUNDLE),
    "REQUESTS_CA_BUNDLE": str(CA_BUNDLE),
    "NODE_EXTRA_CA_CERTS": str(CA_BUNDLE),
}
#: Tools that agents reach for, then what CPython and Node link against.
_WANTED = (
    "bash ca-certificates curl file git jq less libnss-myhostname nano openssl patch "
    "procps psmisc ripgrep sqlite3 tree unzip xz-utils zip libbz2-1.0 libffi8 liblzma5 "
    "libncursesw6 libreadline8 libsqlite3-0 libssl3 libstdc++6 libuuid1 libexpat1 zlib1g "
    "libgdbm6 libcrypt1"
)
PACKAGES = _WANTED.split()
_UNREAD = ("man/*", "doc/*", "locale/*", "info/*", "lintian/*")
_DISTRIBUTION = re.compile(r"(bullseye|bookworm|trixie|forky)(-updates|-security|-backports)?")
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
_APT = Path("/etc/apt")


def describe() -> dict[str, Any]:
    return {"suite": SUITE, "packages": PACKAGES, "version": 3}


def build(workspace: Workspace) -> None:
    """The base layer. Raises ``TemplateError`` when tools, keys or the mirror are missing."""
    if not _KEYRING.exists():
        raise TemplateError(
            "Debian's archive keys are not on this machine; install debian-archive-keyring."
        )
    with workspace.step(f"install {len(PACKAGES)} packages and what they need"):
        run(_command(workspace.layer, sources(workspace.scratch)))
    with workspace.step("settle names, certificates and folders"):
        _settle(workspace.layer)


def _command(layer: Path, mirror: Path | None) -> list[str]:
    command = ["mmdebstrap", "--mode=root", "--format=directory", "--variant=minbase"]
    command += [f"--include={','.join(PACKAGES)}", f"--keyring={_KEYRING}"]
    command += [f"--dpkgopt=path-exclude=/usr/share/{path}" for path in _UNREAD]
    command += ["--dpkgopt=path-include=/usr/share/doc/*/copyright"]
    command += [f"--aptopt={line}" for line in _transport()]
    command += [SUITE, str(layer)]
    return command if mirror is None else [*command, str(mirror)]


def _transport() -> list[str]:
    """How this machine's apt reaches its mirror (a proxy, a private certificate)."""
    wanted = re.compile(r"Acquire::(?:http|https)::(?:Proxy|CAInfo|Verify-Peer) ")
    lines = run(["apt-config", "dump"]).splitlines()
    return [line.rstrip(";") for line in lines if wanted.match(line)]


def sources(scratch: Path) -> Path | None:
    """A list of this machine's own Debian mirrors, for our suite.

    None on a machine of another distribution: mmdebstrap then takes the mirror it comes with.
    """
    entries = {*_one_line_entries(), *_deb822_entries()}
    if not entries:
        return None
    lines = [f"deb [signed-by={_KEYRING}] {uri} {suite} main" for uri, suite in sorted(entries)]
    path = scratch / "mirror.list"
    path.write_text("\n".join(lines) + "\n")
    return path


def _one_line_entries() -> set[tuple[str, str]]:
    found = set()
    for path in [_APT / "sources.list", *sorted((_APT / "sources.list.d").glob("*.list"))]:
        for line in path.read_text().splitlines() if path.exists() else []:
            match = re.match(r"deb\s+(?:\[[^]]*\]\s+)?(\S+)\s+(\S+)\s+.*\bmain\b", line)
            suite = _our_suite(match[2]) if match else None
            if match and suite:
                found.add((match[1], suite))
    return found


def _deb822_entries() -> set[tuple[str, str]]:
    found = set()
    for path in sorted((_APT / "sources.list.d").glob("*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text()):
            fields = dict(re.findall(r"^([A-Za-z-]+):[ \t]*(.*)$", stanza, re.MULTILINE))
            if "deb" not in fields.get("Types", "").split() or fields.get("Enabled") == "no":
                continue
            for suite in filter(None, map(_our_suite, fields.get("Suites", "").split())):
                found |= {(uri, suite) for uri in fields.get("URIs", "").split()}
    return found


def _our_suite(suite: str) -> str | None:
    """The suite of our release that matches one of the machine's, whatever its release."""
    match = _DISTRIBUTION.fullmatch(suite)
    if match is None or match[2] == "-backports":
        return None
    return SUITE + (match[2] or "")


def _settle(layer: Path) -> None:
    for stray in ("etc/apt/apt.conf.d/99mmdebstrap", "etc/resolv.conf", "etc/hostname"):
        (layer / stray).unlink(missing_ok=True)
    (layer / "etc/resolv.conf").write_text("")
    (layer / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
    for folder in ("workspace", "persist"):
        (layer / folder).mkdir(mode=0o755)
    (layer / ".agent").touch(mode=0o555)
    for stray_device in (layer / "dev").iterdir():
        if stray_device.is_dir() and not stray_device.is_symlink():
            shutil.rmtree(stray_device)
        else:
            stray_device.unlink()
    trust(layer)


def trust(layer: Path) -> None:
    """Put this machine's certificates into the layer, if they are not the ones there."""
    bundle = layer / CA_BUNDLE.relative_to("/")
    if not CA_BUNDLE.exists():
        return
    content = CA_BUNDLE.read_bytes()
    if bundle.read_bytes() == content:
        return
    scratch = bundle.with_suffix(".new")
    scratch.write_bytes(content)
    scratch.chmod(0o644)
    scratch.rename(bundle)
