"""The default allowlist: rows an operator edits, registries that follow the host's machine."""

from __future__ import annotations

import pytest
from django.core.management import CommandError, call_command

from sandboxes import allowlist
from sandboxes.errors import InvalidRequest
from sandboxes.host.egress.defaults import CODE_HOSTING, LLM_APIS
from sandboxes.host.egress.policy import Rule
from sandboxes.models import AllowedDomain, DomainSource, Sandbox

pytestmark = pytest.mark.django_db

MIRROR = Rule("mirror.example.org", (443, 8443), (8080,))


def rows(source: str) -> list[AllowedDomain]:
    return list(AllowedDomain.objects.filter(source=source))


def test_a_fresh_installation_allows_code_hosting_and_llm_apis() -> None:
    assert {row.domain for row in rows(DomainSource.CODE_HOSTING)} == set(CODE_HOSTING)
    assert {row.domain for row in rows(DomainSource.LLM_API)} == set(LLM_APIS)


def test_the_machines_registries_become_rows_and_leave_with_it() -> None:
    allowlist.registries_store([MIRROR, Rule("old.example.org")])
    allowlist.registries_store([MIRROR])
    (row,) = rows(DomainSource.REGISTRY)
    assert (row.domain, row.ports, row.http_ports) == ("mirror.example.org", [443, 8443], [8080])
    assert MIRROR in allowlist.default_policy().rules


def test_a_registry_that_changed_its_port_is_followed() -> None:
    allowlist.registries_store([Rule("mirror.example.org")])
    allowlist.registries_store([MIRROR])
    assert MIRROR in allowlist.default_policy().rules


def test_what_an_operator_switched_off_stays_off() -> None:
    allowlist.registries_store([MIRROR])
    AllowedDomain.objects.filter(domain=MIRROR.domain).update(enabled=False)
    allowlist.registries_store([MIRROR])
    assert MIRROR.domain not in allowlist.default_domains()


def test_an_operators_own_row_is_never_taken_for_a_registrys() -> None:
    AllowedDomain.objects.create(domain=MIRROR.domain, ports=[443])
    allowlist.registries_store([MIRROR])
    allowlist.registries_store([Rule("another.example.org")])
    assert Rule(MIRROR.domain) in allowlist.default_policy().rules


def test_an_operator_adds_a_domain_and_switches_others_off(
    capsys: pytest.CaptureFixture[str],
) -> None:
    call_command("allowlist", "--on", "Own.example.org", "--off", CODE_HOSTING[0], LLM_APIS[0])
    listed = capsys.readouterr().out.splitlines()
    assert "on   Operator          own.example.org" in listed
    assert f"off  Code hosting      {CODE_HOSTING[0]}" in listed
    domains = set(allowlist.default_domains())
    assert "own.example.org" in domains
    assert not {CODE_HOSTING[0], LLM_APIS[0]} & domains


@pytest.mark.parametrize("arguments", [["--on", "no domain"], ["--off", "unknown.example.org"]])
def test_a_change_that_makes_no_sense_changes_nothing(arguments: list[str]) -> None:
    before = allowlist.default_domains()
    with pytest.raises(CommandError):
        call_command("allowlist", *arguments)
    assert allowlist.default_domains() == before


def test_a_host_that_names_no_registry_takes_none_away() -> None:
    allowlist.registries_store([MIRROR])
    allowlist.registries_store([])
    assert MIRROR.domain in allowlist.default_domains()


def test_a_row_that_makes_no_sense_leaves_the_others_working() -> None:
    AllowedDomain.objects.create(domain="not a domain")
    AllowedDomain.objects.create(domain="shell.example.org", ports=[22])
    AllowedDomain.objects.create(domain="good.example.org")
    domains = allowlist.default_domains()
    assert "good.example.org" in domains
    assert not {"not a domain", "shell.example.org"} & set(domains)


@pytest.mark.parametrize(
    ("network", "own", "expected"),
    [
        ("off", ["a.example.org"], []),
        ("open", ["a.example.org"], []),
        ("restricted", ["a.example.org"], ["a.example.org"]),
        ("restricted", [], []),
    ],
)
def test_an_own_list_stands_in_place_of_the_default_one(
    network: str, own: list[str], expected: list[str]
) -> None:
    policy = allowlist.policy_of(Sandbox(network=network, allow_domains=own))
    assert [rule.domain for rule in policy.rules] == expected


def test_without_an_own_list_the_default_one_applies() -> None:
    policy = allowlist.policy_of(Sandbox(network="restricted"))
    assert policy == allowlist.default_policy()
    assert policy.rules


def test_names_are_taken_in_one_spelling_and_once() -> None:
    names = ["API.Example.org.", "*.api.example.org", "bücher.example"]
    assert allowlist.checked_domains(names) == ["api.example.org", "xn--bcher-kva.example"]


@pytest.mark.parametrize(
    "name",
    [
        *("", "org", "https://a.example.org", "a.example.org/x", "a.example.org:443", "a b.org"),
        *("127.0.0.1", "203.0.113.10", "[::1]", "2130706433", "a.example.org\x00", "a" * 300),
    ],
)
def test_what_is_no_host_name_is_told_in_a_sentence(name: str) -> None:
    with pytest.raises(InvalidRequest, match=r"allow_domains takes bare host names: .+\."):
        allowlist.checked_domains([name])


def test_a_list_without_end_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="at most 200"):
        allowlist.checked_domains([f"a{n}.example.org" for n in range(201)])
