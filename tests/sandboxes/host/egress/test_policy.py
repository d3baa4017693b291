"""Names, addresses and allowlists by themselves."""

from __future__ import annotations

import pytest

from sandboxes.host.egress import domains
from sandboxes.host.egress.addresses import is_own, refusal
from sandboxes.host.egress.limits import Limits
from sandboxes.host.egress.policy import RULES_LIMIT, Policy, Rule


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Example.COM", "example.com"),
        ("example.com.", "example.com"),
        ("*.example.com", "example.com"),
        (" example.com ", "example.com"),
        ("B\u00fccher.example", "xn--bcher-kva.example"),
        ("XN--BCHER-KVA.example", "xn--bcher-kva.example"),
        ("ex\uff41mple\u3002com", "example.com"),
        ("under_score.example", "under_score.example"),
    ],
)
def test_one_name_has_one_spelling(text: str, name: str) -> None:
    assert domains.domain(text) == name


@pytest.mark.parametrize(
    "text",
    [
        "",
        ".",
        "com",
        "localhost",
        "example..com",
        ".example.com",
        "example.com..",
        "-a.example",
        "a-.example",
        "exa mple.com",
        "exam\tple.com",
        "example.com/path",
        "https://example.com",
        "user@example.com",
        "example.com:443",
        "*.*.example.com",
        "exa*mple.com",
        "example.com\0.evil.example",
        "a" * 64 + ".example",
        "a." * 130 + "example",
        "127.1",
        "1.2.3.4",
        "example.123",
        "example.0x7f",
        "\u200b.example",
    ],
)
def test_what_is_not_a_domain_is_refused_with_a_sentence(text: str) -> None:
    with pytest.raises(domains.BadNameError, match=r"\.$"):
        domains.domain(text)


def test_subdomains_match_and_look_alikes_do_not() -> None:
    policy = Policy.of(["example.com"])
    verdicts = {
        host: policy.judge(host=host, port=443, scheme="connect").allowed
        for host in (
            "example.com",
            "a.b.example.com",
            "badexample.com",
            "example.com.evil.example",
            "com",
        )
    }
    assert list(verdicts.values()) == [True, True, False, False, False]


def test_rules_for_one_domain_add_up() -> None:
    policy = Policy((Rule("example.com"), Rule("a.example.com", (8443,), (80,))))
    assert policy.judge(host="a.example.com", port=443, scheme="connect").allowed
    assert policy.judge(host="a.example.com", port=8443, scheme="connect").allowed
    assert policy.judge(host="a.example.com", port=80, scheme="http").allowed
    assert not policy.judge(host="example.com", port=8443, scheme="connect").allowed
    assert policy.judge(host="example.com", port=80, scheme="http").reason == "plain_http"


def test_a_policy_survives_the_control_socket() -> None:
    policy = Policy((Rule("example.com", (443, 8443), (80,)), Rule("203.0.113.7")))
    assert Policy.from_json(policy.to_json()) == policy


def test_bounds_of_a_policy_are_told() -> None:
    with pytest.raises(ValueError, match="at most"):
        Policy.of(f"n{number}.example" for number in range(RULES_LIMIT + 1))
    for port in (0, 22, 25, 65536, -1):
        with pytest.raises(ValueError, match="cannot be opened"):
            Rule("example.com", (port,))
    with pytest.raises(ValueError, match="loopback"):
        Rule("127.0.0.1")


@pytest.mark.parametrize(
    "address",
    [
        "0.0.0.0",  # noqa: S104
        "10.1.2.3",
        "100.64.0.1",
        "100.127.255.255",
        "127.0.0.1",
        "127.255.255.254",
        "168.63.129.16",
        "169.254.169.254",
        "169.254.0.1",
        "172.16.0.1",
        "172.31.255.255",
        "192.0.0.192",
        "192.88.99.1",
        "192.168.1.1",
        "198.18.0.1",
        "198.19.255.255",
        "224.0.0.1",
        "239.1.1.1",
        "255.255.255.255",
        "::",
        "::1",
        "::7f00:1",
        "::ffff:127.0.0.1",
        "::ffff:203.0.113.1",
        "64:ff9b::7f00:1",
        "64:ff9b::cb00:7101",
        "64:ff9b:1::1",
        "100::1",
        "2001::1",
        "2001:db8::1",
        "2002:7f00:1::",
        "2002:cb00:7101::",
        "2600::5efe:7f00:1",
        "2600::200:5efe:a00:1",
        "3fff::1",
        "fc00::1",
        "fd00:ec2::254",
        "fe80::1",
        "fe80::1%eth0",
        "2600::1%1",
        "fec0::1",
        "ff02::1",
        "4000::1",
        "",
        "example.com",
        "1.2.3",
    ],
)
def test_inward_and_disguised_addresses_are_refused(address: str) -> None:
    assert refusal(address)


@pytest.mark.parametrize(
    "address",
    [
        "192.0.2.1",
        "198.51.100.1",
        "203.0.113.1",
        "1.1.1.1",
        "100.63.255.255",
        "100.128.0.1",
        "172.15.0.1",
        "172.32.0.1",
        "192.0.1.1",
        "198.17.255.255",
        "223.255.255.255",
        "2600::1",
        "2a00::5eff:1",
    ],
)
def test_ordinary_addresses_and_the_documentation_ranges_pass(address: str) -> None:
    assert refusal(address) is None


def test_the_machine_knows_its_own_addresses() -> None:
    assert is_own("127.0.0.1")
    assert not is_own("203.0.113.254")


def test_the_last_places_go_to_those_who_hold_few() -> None:
    limits = Limits(per_sandbox=50, crowded_share=5, total=100)
    assert limits.admits(mine=49, everyone=79)
    assert not limits.admits(mine=50, everyone=60)
    assert limits.admits(mine=4, everyone=80)
    assert not limits.admits(mine=5, everyone=80)
    assert not limits.admits(mine=0, everyone=100)
