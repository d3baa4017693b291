"""What a sandbox may reach: domains with their ports, and what the proxy says when it may not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from sandboxes.host.egress import addresses, domains

Scheme = Literal["connect", "http"]

RULES_LIMIT = 1000
#: Not even an operator's own list opens these: remote shells and mail.
CLOSED_PORTS = frozenset({22, 25})


@dataclass(frozen=True, slots=True)
class Rule:
    """A domain with all below it, or one IP address that an operator lists by hand.

    ``ports`` are reached by CONNECT, ``http_ports`` by plain HTTP requests (registries that are
    not served over TLS). Raises ``ValueError`` (``BadNameError`` for the name) with a sentence.
    """

    domain: str
    ports: tuple[int, ...] = (443,)
    http_ports: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        address = domains.ip_literal(self.domain)
        name = domains.domain(self.domain) if address is None else _public(address)
        object.__setattr__(self, "domain", name)
        for port in (*self.ports, *self.http_ports):
            if not 0 < port < 65536 or port in CLOSED_PORTS:
                raise ValueError(f"Port {port} cannot be opened to a sandbox.")


@dataclass(frozen=True, slots=True)
class Verdict:
    """``reason`` is one word for machines, ``detail`` a sentence; ``allow`` the domain to add."""

    allowed: bool
    reason: str = ""
    detail: str = ""
    allow: str = ""


ALLOWED = Verdict(True)


@dataclass(frozen=True, slots=True)
class Policy:
    """An allowlist. Two rules for one domain add up."""

    rules: tuple[Rule, ...] = ()

    def __post_init__(self) -> None:
        if len(self.rules) > RULES_LIMIT:
            raise ValueError(f"An allowlist holds at most {RULES_LIMIT} domains.")

    @classmethod
    def of(cls, names: Iterable[str]) -> Policy:
        """An allowlist of domains over TLS. Raises ``BadNameError``."""
        return cls(tuple(Rule(name) for name in names))

    def judge(self, *, host: str, port: int, scheme: Scheme) -> Verdict:
        """Whether ``host`` (normalised name or canonical address) may be asked for.

        What the name resolves to is judged later, by ``addresses``.
        """
        if port in CLOSED_PORTS:
            return Verdict(False, "port", f"Port {port} is closed to sandboxes.")
        rules = [rule for rule in self.rules if _matches(rule, host)]
        if not rules:
            return _unlisted(host)
        open_ports = {p for r in rules for p in (r.ports if scheme == "connect" else r.http_ports)}
        return ALLOWED if port in open_ports else _wrong_port(host, port, scheme)

    def to_json(self) -> list[dict[str, Any]]:
        """The shape on the control socket."""
        return [
            {"domain": rule.domain, "ports": rule.ports, "http_ports": rule.http_ports}
            for rule in self.rules
        ]

    @classmethod
    def from_json(cls, data: Iterable[Mapping[str, Any]]) -> Policy:
        """The reverse of ``to_json``."""
        return cls(
            tuple(
                Rule(item["domain"], tuple(item["ports"]), tuple(item["http_ports"]))
                for item in data
            )
        )


def _matches(rule: Rule, host: str) -> bool:
    if domains.ip_literal(rule.domain) is not None:
        return rule.domain == host
    return domains.ip_literal(host) is None and domains.covers(rule.domain, host)


def _public(address: str) -> str:
    if (reason := addresses.refusal(address)) is not None:
        raise ValueError(f"{address} cannot be opened to a sandbox ({reason}).")
    return address


def _unlisted(host: str) -> Verdict:
    if domains.ip_literal(host) is not None:
        return Verdict(
            False,
            "ip_literal",
            f"{host} is an IP address. Ask for a host by its name, and allow that name.",
        )
    return Verdict(
        False,
        "not_allowed",
        f"{host} is not on this sandbox's allowlist. To reach it, allow the domain {host}.",
        allow=host,
    )


def _wrong_port(host: str, port: int, scheme: Scheme) -> Verdict:
    if scheme == "http":
        return Verdict(
            False, "plain_http", f"{host} is not open to plain HTTP on port {port}. Use https."
        )
    return Verdict(False, "port", f"{host} is allowed, but port {port} is not open.")
