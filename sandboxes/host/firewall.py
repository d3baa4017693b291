"""The packet rules around sandboxes with open networks, as one nftables table."""

from __future__ import annotations

from collections.abc import Sequence
from ipaddress import IPv4Address, IPv4Network

from sandboxes.host.egress.addresses import REFUSED4

#: New connections one sandbox may hold at a time; the kernel's table is everyone's.
CONNECTIONS = 2048


def ruleset(
    *, table: str, prefix: str, subnet: IPv4Network, resolvers: Sequence[tuple[str, str]]
) -> str:
    """A script for ``nft -f`` that puts the table in place of itself, all at once.

    ``prefix`` begins the name of every sandbox's interface. Which address a sandbox may send from
    is the routing table's knowledge (its route leads back to its own interface), so no rule
    changes when a sandbox comes or goes. ``resolvers`` are pairs: the address sandboxes ask and
    the resolver that answers. Mail (port 25) is closed: one sandbox that sends spam costs everyone
    the machine's good name.
    """
    ours = f'"{prefix}*"'
    refused = ", ".join(str(network) for network, _ in REFUSED4 if network.prefixlen < 32)
    single = ", ".join(str(net.network_address) for net, _ in REFUSED4 if net.prefixlen == 32)
    return f"""\
table inet {table} {{}}
delete table inet {table}
table inet {table} {{
  set going {{ type ipv4_addr; flags dynamic; size 65535; }}
  set refused {{ type ipv4_addr; flags interval; auto-merge; elements = {{ {refused}, {single} }} }}
  chain arriving {{
    type filter hook prerouting priority raw; policy accept;
    iifname {ours} meta nfproto ipv6 drop
    iifname {ours} fib saddr . iif oif missing drop
  }}
  chain names {{
    type nat hook prerouting priority dstnat; policy accept;
{_names(ours, resolvers)}
  }}
  chain to_host {{
    type filter hook input priority filter - 10; policy accept;
    iifname {ours} ct status dnat accept
    iifname {ours} drop
  }}
  chain through {{
    type filter hook forward priority filter - 10; policy accept;
    iifname {ours} oifname {ours} drop
    iifname {ours} ct state new add @going {{ ip saddr ct count over {CONNECTIONS} }} drop
    iifname {ours} ct status dnat accept
    iifname {ours} ip daddr @refused drop
    iifname {ours} tcp dport 25 drop
    iifname {ours} tcp flags syn tcp option maxseg size set rt mtu
    iifname {ours} accept
    oifname {ours} ct state established,related accept
    oifname {ours} drop
  }}
  chain leaving {{
    type nat hook postrouting priority srcnat; policy accept;
    ip saddr {subnet} oifname != {ours} masquerade
  }}
}}
"""


def gateway(subnet: IPv4Network) -> IPv4Address:
    """The address that sandboxes send through; their resolvers' addresses follow it."""
    return subnet.network_address + 1


def asked_resolvers(subnet: IPv4Network, resolvers: Sequence[str]) -> list[tuple[str, str]]:
    """Each resolver with the address under which sandboxes ask it."""
    first = gateway(subnet)
    return [(str(first + number), resolver) for number, resolver in enumerate(resolvers)]


def _names(ours: str, resolvers: Sequence[tuple[str, str]]) -> str:
    return "\n".join(
        f"    iifname {ours} ip daddr {asked} {proto} dport 53 dnat ip to {resolver}"
        for asked, resolver in resolvers
        for proto in ("udp", "tcp")
    )
