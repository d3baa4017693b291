"""Where a request came from, as the audit record and the tokens page show it."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.http import HttpRequest

AGENT_LENGTH = 200


@dataclass(frozen=True, slots=True)
class Origin:
    """A network address (empty when there is none, as on a unix socket) and a user agent."""

    address: str = ""
    user_agent: str = ""

    @property
    def network(self) -> str:
        """What limits on attempts go by: whoever has one IPv6 address has all of its /64."""
        try:
            address = ipaddress.ip_address(self.address)
        except ValueError:
            return self.address
        if isinstance(address, ipaddress.IPv4Address):
            return self.address
        return str(ipaddress.ip_network((address, 64), strict=False))


def origin_of(request: HttpRequest | None) -> Origin:
    """The peer of the connection, or whom a trusted proxy in front of it names (``console``'s
    ``forwarded``)."""
    if request is None:
        return Origin()
    return origin(request.META.get("REMOTE_ADDR") or "", request.META.get("HTTP_USER_AGENT", ""))


def origin(address: str, user_agent: str) -> Origin:
    """The same, for what is served without a ``HttpRequest``."""
    return Origin(_plain(address), user_agent.replace("\x00", "")[:AGENT_LENGTH])


def _plain(address: str) -> str:
    """A caller over IPv4 is the same one where the socket takes both and writes ``::ffff:…``."""
    try:
        mapped = ipaddress.IPv6Address(address).ipv4_mapped
    except ValueError:
        return address
    return str(mapped) if mapped else address


def origin_of_scope(scope: Mapping[str, Any]) -> Origin:
    """The same of an ASGI connection, such as a websocket."""
    address = (scope.get("client") or ("",))[0] or ""
    agent = dict(scope["headers"]).get(b"user-agent", b"")
    return origin(address, agent.decode("latin-1"))
