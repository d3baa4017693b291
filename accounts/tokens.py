"""What a bearer token looks like, and how one is checked. No database: rows come from selectors.

``ork_`` · 8 characters of lookup key · 32 of secret · 6 of checksum, all base62. By the checksum a
mistyped token is judged without asking the database, and a scanner finds leaked ones.
"""

from __future__ import annotations

import hmac
import ipaddress
import secrets
import string
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from django.conf import settings

PREFIX = "ork_"
_ALPHABET = string.digits + string.ascii_letters
_LOOKUP = 8
_SECRET = 32
_CHECK = 6
_LENGTH = len(PREFIX) + _LOOKUP + _SECRET + _CHECK


class Refused(Exception):  # noqa: N818 - reads as what it says
    """The token is not good. The message is a sentence; it never says whether a token exists."""


@dataclass(frozen=True, slots=True)
class Parsed:
    """A token as presented: the key to find its row by, and the digest that the row must hold."""

    lookup: str
    digest: str


@dataclass(frozen=True, slots=True)
class Fresh:
    """A new token. ``text`` is shown to its owner once and kept nowhere."""

    text: str
    lookup: str
    digest: str


def fresh() -> Fresh:
    """190 random bits of secret."""
    lookup = _random(_LOOKUP)
    secret = _random(_SECRET)
    body = PREFIX + lookup + secret
    return Fresh(body + _checksum(body), lookup, keyed_digest(secret))


def parse(text: str) -> Parsed | None:
    """None when ``text`` cannot be a token of this platform."""
    if len(text) != _LENGTH or not text.startswith(PREFIX) or not text.isascii():
        return None
    body, check = text[:-_CHECK], text[-_CHECK:]
    if not hmac.compare_digest(_checksum(body), check):
        return None
    lookup = body[len(PREFIX) : len(PREFIX) + _LOOKUP]
    return Parsed(lookup, keyed_digest(body[len(PREFIX) + _LOOKUP :]))


@dataclass(frozen=True, slots=True)
class Stored:
    """What the row says of a token."""

    digest: str
    expires_at: datetime | None
    revoked_at: datetime | None
    allowed_networks: Sequence[str]


def verify(presented: Parsed, stored: Stored | None, *, address: str, now: datetime) -> None:
    """Raise ``Refused`` unless the token is known, live, and used from an allowed address."""
    kept = stored.digest if stored else "0" * 64
    if not hmac.compare_digest(presented.digest, kept) or stored is None:
        raise Refused("This token is not known here. Check it, or mint a new one in the console.")
    if stored.revoked_at is not None:
        raise Refused("This token was revoked. Mint a new one in the console.")
    if stored.expires_at is not None and stored.expires_at <= now:
        raise Refused("This token has expired. Mint a new one in the console.")
    if stored.allowed_networks and not _within(address, stored.allowed_networks):
        raise Refused("This token may not be used from this network address.")


def _within(address: str, networks: Sequence[str]) -> bool:
    try:
        client = ipaddress.ip_address(address)
    except ValueError:
        return False
    if isinstance(client, ipaddress.IPv6Address) and client.ipv4_mapped:
        client = client.ipv4_mapped
    return any(client in ipaddress.ip_network(network) for network in networks)


def _random(length: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(length))


def keyed_digest(secret: str) -> str:
    """What is kept of a secret."""
    return hmac.digest(settings.TOKEN_PEPPER.encode(), secret.encode(), "sha256").hex()


def _checksum(body: str) -> str:
    value = zlib.crc32(body.encode())
    digits = ""
    for _ in range(_CHECK):
        value, digit = divmod(value, len(_ALPHABET))
        digits = _ALPHABET[digit] + digits
    return digits
