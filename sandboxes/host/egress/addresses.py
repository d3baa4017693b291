"""Which addresses a sandbox may be connected to, whatever a name resolves to."""

from __future__ import annotations

import ipaddress
import socket
from contextlib import suppress
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network

#: Never connected to, with the reason that events give. The documentation ranges are not here:
#: nothing routes them in the open, and where something does, they are ordinary addresses.
REFUSED4: tuple[tuple[IPv4Network, str], ...] = tuple(
    (IPv4Network(network), reason)
    for network, reason in (
        ("0.0.0.0/8", "private_address"),
        ("10.0.0.0/8", "private_address"),
        ("100.64.0.0/10", "shared_address"),
        ("127.0.0.0/8", "loopback_address"),
        ("168.63.129.16/32", "metadata_address"),
        ("169.254.169.254/32", "metadata_address"),
        ("169.254.0.0/16", "link_local_address"),
        ("172.16.0.0/12", "private_address"),
        ("192.0.0.0/24", "reserved_address"),
        ("192.88.99.0/24", "reserved_address"),
        ("192.168.0.0/16", "private_address"),
        ("198.18.0.0/15", "private_address"),
        ("224.0.0.0/4", "multicast_address"),
        ("240.0.0.0/4", "reserved_address"),
    )
)
#: Of IPv6 only global unicast passes at all; these lie inside it and are refused.
_GLOBAL6 = IPv6Network("2000::/3")
_REFUSED6: tuple[tuple[IPv6Network, str], ...] = tuple(
    (IPv6Network(network), reason)
    for network, reason in (
        ("2001::/23", "reserved_address"),  # Teredo, ORCHID, benchmarking and their kin
        ("2001:db8::/32", "reserved_address"),
        ("2002::/16", "embedded_address"),  # 6to4 carries an IPv4 address
        ("3fff::/20", "reserved_address"),
    )
)
_OUTSIDE6: tuple[tuple[IPv6Network, str], ...] = tuple(
    (IPv6Network(network), reason)
    for network, reason in (
        ("::1/128", "loopback_address"),
        ("::/96", "embedded_address"),
        ("::ffff:0:0/96", "embedded_address"),
        ("64:ff9b::/96", "embedded_address"),
        ("64:ff9b:1::/48", "embedded_address"),
        ("fd00:ec2::254/128", "metadata_address"),
        ("fc00::/7", "private_address"),
        ("fe80::/10", "link_local_address"),
        ("ff00::/8", "multicast_address"),
    )
)
#: The interface identifiers of ISATAP, which carry an IPv4 address under any prefix.
_ISATAP = (0x00005EFE, 0x02005EFE)


def refusal(text: str) -> str | None:
    """Why ``text``, an address as a resolver gives it, is not connected to; ``None`` if it may be.

    Anything that is not a plain address (a zone, a port) is refused as ``bad_address``.
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return "bad_address"
    if isinstance(address, IPv4Address):
        return _first(REFUSED4, address)
    return _refusal6(address)


def is_own(text: str) -> bool:
    """Whether this machine has the address. Routing knows: to itself a machine speaks from itself.

    Nothing is sent. An address without a route is nobody's; when the question cannot be asked
    (no descriptor is free), the answer is yes, so that nothing is let through by it.
    """
    try:
        probe = socket.socket(socket.AF_INET6 if ":" in text else socket.AF_INET, socket.SOCK_DGRAM)
    except OSError:
        return True
    with probe, suppress(OSError):
        probe.connect((text, 9))
        return bool(probe.getsockname()[0] == text)
    return False


def _refusal6(address: IPv6Address) -> str | None:
    if address.scope_id is not None:
        return "bad_address"
    if address not in _GLOBAL6:
        return _first(_OUTSIDE6, address) or "reserved_address"
    if int(address) >> 32 & 0xFFFFFFFF in _ISATAP:
        return "embedded_address"
    return _first(_REFUSED6, address)


def _first(
    table: tuple[tuple[IPv4Network, str], ...] | tuple[tuple[IPv6Network, str], ...],
    address: IPv4Address | IPv6Address,
) -> str | None:
    return next((reason for network, reason in table if address in network), None)
