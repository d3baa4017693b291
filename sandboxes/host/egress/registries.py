"""Which package registries this machine's own package clients use, asked at run time."""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterable
from urllib.parse import urlsplit

from sandboxes.host.egress.policy import Rule

log = logging.getLogger(__name__)

_CLIENT_SECONDS = 30.0
#: pip knows its default index and where that keeps its files; nobody else has to.
_PIP_DEFAULTS = (
    "from pip._internal.models.index import PyPI as index\n"
    "print(index.url)\n"
    "print(f'https://{index.file_storage_domain}/')\n"
)
_PIP_KEYS = ("index-url", "extra-index-url", "find-links", "index")
_DEFAULT_PORTS = {"http": 80, "https": 443}


async def registry_rules() -> tuple[Rule, ...]:
    """A rule for every registry of pip, npm and apt on this machine, plain HTTP where they use it.

    A client that is not installed, or that fails, adds nothing. Takes a second or two: ask once.
    """
    answers = await asyncio.gather(_pip(), _npm(), _apt())
    return rules(url for urls in answers for url in urls)


def rules(urls: Iterable[str]) -> tuple[Rule, ...]:
    """One rule per host of ``urls`` with the ports they use. Files and bare words are no URLs."""
    ports: dict[str, dict[str, set[int]]] = {}
    for url in urls:
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port or _DEFAULT_PORTS.get(parts.scheme)
        except ValueError:
            continue
        if host and port and parts.scheme in _DEFAULT_PORTS:
            ports.setdefault(host, {"http": set(), "https": set()})[parts.scheme].add(port)
    made = (_rule(host, found) for host, found in sorted(ports.items()))
    return tuple(rule for rule in made if rule is not None)


def _rule(host: str, ports: dict[str, set[int]]) -> Rule | None:
    """Over TLS a host is open too when its client asks without: mirrors serve both."""
    try:
        secure = tuple(sorted(ports["https"] | {443}))
        return Rule(host, secure, tuple(sorted(ports["http"])))
    except ValueError as error:
        log.warning("the registry %s is left out of the allowlist: %s", host, error)
        return None


async def _pip() -> list[str]:
    python = sys.executable
    lines = await _lines(python, "-c", _PIP_DEFAULTS)
    for line in await _lines(python, "-m", "pip", "config", "list"):
        key, _, value = line.partition("=")
        if key.rpartition(".")[2] in _PIP_KEYS:
            lines += value.strip("'\"").replace("\\n", " ").split()
    return lines


async def _npm() -> list[str]:
    return await _lines("npm", "config", "get", "registry")


async def _apt() -> list[str]:
    return await _lines("apt-get", "indextargets", "--format", "$(REPO_URI)")


async def _lines(*command: str) -> list[str]:
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.DEVNULL,
        )
    except OSError:
        return []
    try:
        async with asyncio.timeout(_CLIENT_SECONDS):
            output, _ = await process.communicate()
    except TimeoutError:
        process.kill()
        await process.wait()
        return []
    return output.decode(errors="replace").splitlines() if process.returncode == 0 else []
