"""Whose address a connection has behind a reverse proxy: what the proxy says, if it is ours.

Anybody can send ``X-Forwarded-For``. It is believed from the right, as far as the peers are
proxies that ``ORKESTR_TRUSTED_PROXIES`` names; the first address that is none of them is the
caller's. Without the setting nothing is believed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Sequence
from typing import Final

from console.asgi_types import App, Receive, Scope, Send

Network = ipaddress.IPv4Network | ipaddress.IPv6Network
_HEADER: Final = b"x-forwarded-for"


class Forwarded:
    """Puts the caller's address where the peer's was, in ``scope["client"]``."""

    def __init__(self, app: App, *, trusted: Sequence[Network]) -> None:
        self._app = app
        self._trusted = trusted

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._trusted and scope["type"] in {"http", "websocket"}:
            scope["client"] = caller(scope, self._trusted)
        await self._app(scope, receive, send)


def networks(texts: Iterable[str]) -> list[Network]:
    """Raises ``ValueError`` for what is no address and no network."""
    return [ipaddress.ip_network(text.strip()) for text in texts if text.strip()]


def caller(scope: Scope, trusted: Sequence[Network]) -> tuple[str, int] | None:
    """The first address from the right that is not one of ours, or the peer's own."""
    client: tuple[str, int] | None = scope.get("client")
    if client is None or not _is_within(client[0], trusted):
        return client
    told = [value.decode("latin-1") for name, value in scope["headers"] if name == _HEADER]
    for text in reversed(",".join(told).split(",")):
        address = text.strip()
        if not _is_address(address):
            break
        client = (address, 0)
        if not _is_within(address, trusted):
            break
    return client


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def _is_within(address: str, trusted: Sequence[Network]) -> bool:
    return _is_address(address) and any(ipaddress.ip_address(address) in one for one in trusted)
