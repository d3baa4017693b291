"""The distribution's packages: which are missing, and having apt install exactly those."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path

from console.launch import checks, logged
from console.launch.say import Problem, step, tail

_CA_BUNDLE = Path("/etc/ssl/certs/ca-certificates.crt")
_KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
#: What Debian asks before it starts a service that was just installed; 101 is no.
_POLICY = Path("/usr/sbin/policy-rc.d")
_AS_FEW_AS_CAN_BE = ("-y", "--no-install-recommends")
_BROWSERS = ("chromium", "chromium-browser", "google-chrome")
#: Debian's Chromium without windows: a page of it costs a third of the processor.
_LIGHT_BROWSER = "chromium-headless-shell"


@dataclass(frozen=True)
class Package:
    """``is_there`` looks for what is used of it, whoever installed that."""

    name: str
    is_there: Callable[[], bool]


def _program(package: str, program: str = "") -> Package:
    return Package(package, partial(checks.have, program or package))


def to_run() -> list[Package]:
    """What an instance needs."""
    return [
        _program("runc"),
        _program("mmdebstrap"),
        _program("e2fsprogs", "mkfs.ext4"),
        _program("iproute2", "ip"),
        _program("nftables", "nft"),
        _program("passwd", "useradd"),
        Package("musl-tools", checks.static_libc),
        Package("ca-certificates", _CA_BUNDLE.exists),
        Package("debian-archive-keyring", _KEYRING.exists),
        Package(_venv_package(), _has_venv),
    ]


def to_test() -> list[Package]:
    """What tests need besides: a browser, letters for its screenshots, the front end's tools, and
    the proxies that ``deploy/`` has files for."""
    return [
        _program("gcc"),
        _program("musl-tools", "musl-gcc"),
        _program("npm"),
        _program("git"),
        _program("openssl"),
        _program("curl"),
        Package("nginx-light", partial(checks.have, "nginx")),
        _program("caddy"),
        Package("libc6-dev", Path("/usr/include/stdio.h").exists),
        Package(_LIGHT_BROWSER if _is_debian() else "chromium", _has_browser),
        Package("fonts-dejavu-core", Path("/usr/share/fonts/truetype/dejavu").is_dir),
        Package("fonts-noto-color-emoji", _has_emoji),
    ]


def install(packages: list[Package], *, log: Path) -> None:
    """Installs the missing ones of these. Nothing missing: apt is not even started."""
    missing = [package.name for package in packages if not package.is_there()]
    if not missing:
        return
    if not checks.have("apt-get"):
        raise Problem(
            f"These packages are missing: {' '.join(missing)}. There is no apt-get here.",
            advice="Install them with this system's own package manager and run it again.",
        )
    with step("distribution packages", slow=" ".join(missing)):
        _apt(missing, log=log)
    still = [package.name for package in packages if not package.is_there()]
    if still:
        raise Problem(
            f"apt-get installed {' '.join(still)}, yet what it should bring is not there.",
            advice=f"Look at {log}, and install it by hand.",
        )


def _apt(names: list[str], *, log: Path) -> None:
    prefix = [] if os.geteuid() == 0 else ["sudo", "--preserve-env=DEBIAN_FRONTEND"]
    environ = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    get = [*prefix, "apt-get", "-q", "-o", "DPkg::Lock::Timeout=300", "-o", "Acquire::Retries=3"]
    # A failed update is no reason to stop: the lists that are there may well do.
    logged.run([*get, "update"], log=log, appends=True, env=environ)
    install = [*get, "install", *_AS_FEW_AS_CAN_BE, *names]
    with _nothing_starts():
        code = logged.run(install, log=log, appends=True, env=environ)
    if code != 0:
        raise Problem(
            f"apt-get could not install {' '.join(names)}:\n{tail(log, lines=6)}",
            advice="Check the network and apt's sources, then run it again. Nothing was started.",
        )


@contextmanager
def _nothing_starts() -> Iterator[None]:
    """A package with a web server in it would have the machine serve pages from then on."""
    if os.geteuid() != 0 or _POLICY.exists():
        yield
        return
    _POLICY.write_text("#!/bin/sh\nexit 101\n")
    _POLICY.chmod(0o755)
    try:
        yield
    finally:
        _POLICY.unlink()


def _venv_package() -> str:
    return f"python{sys.version_info.major}.{sys.version_info.minor}-venv"


def _has_venv() -> bool:
    return find_spec("venv") is not None and find_spec("ensurepip") is not None


def _has_browser() -> bool:
    others = () if _is_debian() else _BROWSERS
    return any(checks.have(name) for name in (_LIGHT_BROWSER, *others))


def _is_debian() -> bool:
    try:
        return platform.freedesktop_os_release()["ID"] == "debian"
    except OSError:
        return False


def _has_emoji() -> bool:
    return any(Path("/usr/share/fonts").rglob("NotoColorEmoji*"))
