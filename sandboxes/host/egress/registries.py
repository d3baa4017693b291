"""Which package registries this machine's own package clients use, asked at run time.

No registry is named in this code. A machine that works from a mirror hands that on: sandboxes
with a network find it in their environment, and restricted ones may reach it.
"""

from __future__ import annotations

import asyncio
import logging
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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
#: What of pip's configuration a sandbox is told; several values are one text with spaces.
_PIP_TOLD = ("index-url", "extra-index-url", "trusted-host")
#: pip's own order: what comes later goes over what comes before.
_PIP_SECTIONS = ("global", "install", ":env:")
_DEFAULT_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Registries:
    """``rules`` open them to a restricted sandbox, ``environment`` points its clients at them."""

    rules: tuple[Rule, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)


async def registries() -> Registries:
    """The registries of pip, npm and apt on this machine.

    A client that is not installed, or that fails, adds nothing. Takes a second or two: ask once.
    """
    answers = await asyncio.gather(_pip_defaults(), _pip_config(), _npm(), _apt())
    defaults, config, npm, apt = answers
    urls = [*defaults, *_pip_urls(config), *npm, *apt]
    return Registries(rules(urls), environment(config, npm))


async def registry_rules() -> tuple[Rule, ...]:
    """A rule for every registry of this machine's, plain HTTP where its clients use that."""
    return (await registries()).rules


def environment(pip_config: Iterable[str], npm: Iterable[str]) -> dict[str, str]:
    """What makes a sandbox's pip and npm ask whom this machine's ask.

    ``pip_config`` is what ``pip config list`` says, ``npm`` the registry. Folders of this machine
    and addresses with a password in them stay here.
    """
    told: dict[str, str] = {}
    found = _pip_values(pip_config)
    for key in _PIP_TOLD:
        for section in _PIP_SECTIONS:
            words = [word for word in found.get((section, key), ()) if _tellable(key, word)]
            if words:
                told[f"PIP_{key.upper().replace('-', '_')}"] = " ".join(words)
    for url in npm:
        if _tellable("registry", url):
            told["NPM_CONFIG_REGISTRY"] = url
    return told


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


def _pip_values(lines: Iterable[str]) -> dict[tuple[str, str], list[str]]:
    """The words of each value by section and key."""
    found = {}
    for line in lines:
        name, _, value = line.partition("=")
        section, _, key = name.rpartition(".")
        found[section, key] = value.strip("'\"").replace("\\n", " ").split()
    return found


def _pip_urls(lines: Iterable[str]) -> list[str]:
    values = _pip_values(lines).items()
    return [word for (_, key), words in values if key in _PIP_KEYS for word in words]


def _tellable(key: str, word: str) -> bool:
    if key == "trusted-host":
        return True
    try:
        parts = urlsplit(word)
    except ValueError:
        return False
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        return False
    if parts.username or parts.password:
        log.warning(
            "the registry %s needs a password, which sandboxes are not told", parts.hostname
        )
        return False
    return True


async def _pip_defaults() -> list[str]:
    return await _lines(sys.executable, "-c", _PIP_DEFAULTS)


async def _pip_config() -> list[str]:
    return await _lines(sys.executable, "-m", "pip", "config", "list")


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
