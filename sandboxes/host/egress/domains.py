"""Names of hosts in one spelling, so that two ways to write a name are one name."""

from __future__ import annotations

import ipaddress
import re

import idna

NAME_LIMIT = 253
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?\Z")
#: Resolvers read a name whose last label is a number as an IPv4 address: 127.1, 0x7f000001.
_NUMBER = re.compile(r"([0-9]+|0x[0-9a-f]*)\Z")


class BadNameError(ValueError):
    """Not a host name. The message says what is wrong with it."""


def host_name(text: str) -> str:
    """``text`` in lower-case ASCII without a trailing dot. Raises ``BadNameError``.

    An IP address is not a name, in none of the forms that a resolver takes for one.
    """
    name = _ascii(text)
    labels = name.split(".")
    if len(name) > NAME_LIMIT or not all(_LABEL.match(label) for label in labels):
        raise BadNameError(f"{_shown(text)} is not a valid host name.")
    if _NUMBER.match(labels[-1]):
        raise BadNameError(f"{_shown(text)} is an IP address, not a host name.")
    return name


def domain(text: str) -> str:
    """An allowlist entry in the spelling of ``host_name``; a leading ``*.`` means nothing here.

    Subdomains match anyway. Raises ``BadNameError`` for a top-level name too, which would match far
    more than anyone meant.
    """
    name = host_name(text.strip().removeprefix("*."))
    if "." not in name:
        raise BadNameError(f"{_shown(text)} is not a full domain name such as example.com.")
    return name


def ip_literal(text: str) -> str | None:
    """The canonical address when ``text`` is one, in brackets or not, else ``None``.

    Forms that only a resolver takes for an address (127.1, 0x7f000001, 1.2.3.4.) come back as
    they were written: they are addresses, and never equal a canonical one.
    """
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    try:
        return str(ipaddress.ip_address(bare))
    except ValueError:
        pass
    last = bare.rstrip(".").rpartition(".")[2].lower()
    return bare if ":" in bare or _NUMBER.match(last) else None


def covers(rule: str, name: str) -> bool:
    """Whether ``name`` is the domain ``rule`` or lies below it. Both are normalised."""
    return name == rule or name.endswith(f".{rule}")


def _ascii(text: str) -> str:
    plain = text.removesuffix(".")
    if plain.isascii():
        return plain.lower()
    try:
        return idna.encode(plain, uts46=True).decode("ascii").removesuffix(".")
    except (idna.IDNAError, UnicodeError) as error:
        raise BadNameError(f"{_shown(text)} is not a valid host name.") from error


def _shown(text: str) -> str:
    return repr(text if len(text) <= 80 else f"{text[:80]}…")
