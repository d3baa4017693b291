"""Where a webhook leads, and whether anything may be sent there."""

from __future__ import annotations

import asyncio
import ipaddress
import re
import socket
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final
from urllib.parse import SplitResult, urlsplit

from django.conf import settings

from sandboxes.host.egress import addresses

URL_LENGTH: Final = 2048
RESOLVE_SECONDS: Final = 5.0
_PORTS: Final = {"http": 80, "https": 443}
_UNPRIVILEGED: Final = 1024
_PRINTABLE: Final = re.compile(r"[!-~]+")
# RFC 3986 without what browsers repair: a quote, a backslash or a brace has no place in a request.
_PATH: Final = re.compile(r"(?:[A-Za-z0-9\-._~!$&'()*+,;=:@/?]|%[0-9A-Fa-f]{2})*")
_NAME: Final = re.compile(r"(?=.{1,253}$)(?:[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?\.?)+")

_resolvers: Final = ThreadPoolExecutor(32, thread_name_prefix="webhook-names")


class BadTarget(Exception):  # noqa: N818 - reads as what it says
    """Nothing may be sent there. The message is one sentence for who registered it."""


@dataclass(frozen=True, slots=True)
class Target:
    """A checked URL. ``path`` has the query with it; ``host`` is an IPv6 address without brackets.

    ``authority`` is the ``Host`` header's value.
    """

    scheme: str
    host: str
    port: int
    path: str

    @property
    def authority(self) -> str:
        name = f"[{self.host}]" if ":" in self.host else self.host
        return name if self.port == _PORTS[self.scheme] else f"{name}:{self.port}"


def parse(url: str) -> Target:
    """Raises ``BadTarget``. What passes can be put into a request as it is."""
    if len(url) > URL_LENGTH:
        raise BadTarget(f"The url may have at most {URL_LENGTH} characters.")
    if not _PRINTABLE.fullmatch(url):
        raise BadTarget("The url may hold printable ASCII only; encode the rest of it.")
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        raise BadTarget("This is not a url; give one such as https://example.com/hook.") from None
    _check_parts(parts)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    if not _PATH.fullmatch(path):
        raise BadTarget("The path of the url holds characters that must be percent-encoded.")
    return Target(parts.scheme, _host(host), _port(port, parts.scheme), path)


def _check_parts(parts: SplitResult) -> None:
    if parts.scheme not in _PORTS:
        raise BadTarget("The url must begin with https:// or http://.")
    if "@" in parts.netloc:
        raise BadTarget("The url may not hold a user name or password; check the signature.")
    if parts.fragment:
        raise BadTarget("The url may not have a fragment (#…); it would never be sent.")


def _host(host: str) -> str:
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    if not _NAME.fullmatch(host):
        raise BadTarget("The url needs a host name, such as https://example.com/hook.")
    return host


def _port(port: int | None, scheme: str) -> int:
    if port is None:
        return _PORTS[scheme]
    if port in _PORTS.values() or port >= _UNPRIVILEGED:
        return port
    raise BadTarget("The port must be 80, 443, or one from 1024 on.")


async def resolve(target: Target) -> list[str]:
    """The addresses that may be connected to, in the resolver's order. Raises ``BadTarget``.

    Connect to one of these and not to the name: a second look-up may say something else.
    """
    loop = asyncio.get_running_loop()
    try:
        async with asyncio.timeout(RESOLVE_SECONDS):
            found = await loop.run_in_executor(_resolvers, _lookup, target.host)
    except TimeoutError:
        raise BadTarget(f"The name {target.host} was not resolved in time.") from None
    except (OSError, UnicodeError):
        raise BadTarget(f"The name {target.host} does not resolve.") from None
    return _allowed(target.host, found)


def _lookup(host: str) -> list[str]:
    rows = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(row[4][0]) for row in rows))


def _allowed(host: str, found: Sequence[str]) -> list[str]:
    reasons = {address: refusal(address) for address in found}
    good = [address for address, reason in reasons.items() if reason is None]
    if good:
        return good
    address, reason = next(iter(reasons.items()), ("nothing", "bad_address"))
    shown = address if address == host else f"{host} at {address}"
    why = (reason or "").replace("_", " ")
    raise BadTarget(f"Webhooks are not sent to {shown} ({why}); give a public one.")


def refusal(address: str) -> str | None:
    """Why nothing is sent to ``address``; None if it may be.

    The same rules as for sandboxes, and this machine's own public addresses are refused too.
    ``ORKESTR_WEBHOOK_ALLOW_LOOPBACK`` opens the loopback ones, for development.
    """
    reason = addresses.refusal(address)
    if reason == "loopback_address" and settings.ORKESTR_WEBHOOK_ALLOW_LOOPBACK:
        return None
    if reason is None and addresses.is_own(address):
        return "own_address"
    return reason
