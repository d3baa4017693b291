"""``network`` and ``allow_domains`` of POST /v1/sandboxes, and what comes of them."""

from __future__ import annotations

import asyncio
import json

import httpx
import pytest
from orkestr import NetworkPolicyError, PlanLimitError, Sandbox
from orkestr._client import OrkestrClient
from orkestr.errors import from_response

from accounts.models import Plan
from sandboxes.host.egress.defaults import CODE_HOSTING, LLM_APIS
from sandboxes.host.egress.registries import registry_rules
from tests.cast import Cast
from tests.waiting import until
from timeline.events import Event
from timeline.render import render_row
from timeline.selectors import events_after


def on_plan(account: Cast, name: str) -> None:
    account.account.plan = Plan.objects.get(name=name)
    account.account.save()


def network_events(sandbox: Sandbox, *, count: int) -> list[Event]:
    def there() -> list[Event]:
        found = events_after(sandbox_id=sandbox.id, limit=1000)
        return [event for event in found if event.kind.startswith("network.")]

    until(lambda: len(there()) >= count, what=f"{count} connections are on the timeline")
    return there()


def test_the_default_list_has_the_machines_registries_code_hosting_and_llm_apis(
    sandbox_client: OrkestrClient,
) -> None:
    limits = Sandbox.limits()
    registries = {rule.domain for rule in asyncio.run(registry_rules())}
    assert registries
    assert set(limits.default_egress_domains) >= {*registries, *CODE_HOSTING, *LLM_APIS}
    assert limits.custom_egress_allowlist


def test_a_restricted_sandbox_is_told_of_its_proxy_and_may_override_it(
    sandbox_client: OrkestrClient,
) -> None:
    own = {"NO_PROXY": "own.example.org"}
    with Sandbox.create(template="debian-12", network="restricted", env=own) as sandbox:
        assert sandbox.network == "restricted"
        told = sandbox.exec(
            "echo $HTTP_PROXY $http_proxy $HTTPS_PROXY $https_proxy; echo $NO_PROXY"
        )
        proxies, no_proxy = told.stdout.splitlines()
        assert len(set(proxies.split())) == 1
        assert no_proxy == "own.example.org"


def test_a_denied_connection_says_which_domain_to_allow(sandbox_client: OrkestrClient) -> None:
    with Sandbox.create(template="debian-12", network="restricted") as sandbox:
        refused = sandbox.exec("curl -sS https://not-listed.example.org/")
        assert "403" in refused.stderr
        (event,) = network_events(sandbox, count=1)
        plain = sandbox.exec("curl -sS -w '%{http_code}' http://not-listed.example.org/").stdout
    body, status = plain.rsplit("\n", 1)
    error = from_response(int(status), json.loads(body))
    assert isinstance(error, NetworkPolicyError)
    assert "allow the domain not-listed.example.org" in str(error)
    assert (event.kind, event.actor.type) == ("network.denied", "policy")
    assert event.data["allow"] == "not-listed.example.org"
    assert (event.data["host"], event.data["port"]) == ("not-listed.example.org", 443)
    row = render_row(event)
    assert "Denied" in row
    assert "allow the domain not-listed.example.org" in row


def test_allow_domains_stands_in_place_of_the_default_list(
    sandbox_client: OrkestrClient, http: httpx.Client
) -> None:
    own = ["*.Own.Example.org.", "own.example.org"]
    with Sandbox.create(template="debian-12", network="restricted", allow_domains=own) as sandbox:
        body = http.get(f"/v1/sandboxes/{sandbox.id}").json()
        assert body["allow_domains"] == ["own.example.org"]
        listed = sandbox.exec("curl -sS https://deep.own.example.org/").stderr
        default = sandbox.exec(f"curl -sS https://{CODE_HOSTING[0]}/").stderr
        assert "403" not in listed
        assert "403" in default
        kinds = [event.kind for event in network_events(sandbox, count=2)]
        assert kinds == ["network.allowed", "network.denied"]


@pytest.mark.parametrize("network", ["off", "open"])
def test_allow_domains_means_nothing_for_the_other_networks(
    http: httpx.Client, network: str
) -> None:
    asked = {"template": "debian-12", "network": network, "allow_domains": ["x"]}
    answer = http.post("/v1/sandboxes", json=asked)
    assert (answer.status_code, answer.json()["allow_domains"]) == (201, None)
    http.delete(f"/v1/sandboxes/{answer.json()['id']}")


@pytest.mark.parametrize(
    "domains",
    ["example.org", [1], ["example"], ["https://example.org"], ["127.0.0.1"], ["a\x00.b"]],
)
def test_an_allowlist_that_makes_no_sense_is_told_in_a_sentence(
    http: httpx.Client, domains: object
) -> None:
    asked = {"template": "debian-12", "network": "restricted", "allow_domains": domains}
    answer = http.post("/v1/sandboxes", json=asked)
    assert answer.status_code == 422
    assert "allow_domains" in answer.json()["detail"]
    assert http.get("/v1/sandboxes").json()["total"] == 0


def test_a_plan_says_which_networks_it_covers(
    sandbox_client: OrkestrClient, http: httpx.Client, account: Cast
) -> None:
    on_plan(account, "free")
    with pytest.raises(PlanLimitError, match="off, restricted"):
        Sandbox.create(template="debian-12", network="open")
    answer = http.post("/v1/sandboxes", json={"template": "debian-12", "network": "open"})
    body = answer.json()
    assert (answer.status_code, body["code"], body["reason"]) == (403, "plan_limit", "network")
    Sandbox.create(template="debian-12", network="restricted").terminate()


def test_an_own_allowlist_takes_a_plan_that_covers_it(http: httpx.Client, account: Cast) -> None:
    on_plan(account, "free")
    asked = {"template": "debian-12", "network": "restricted", "allow_domains": ["example.org"]}
    answer = http.post("/v1/sandboxes", json=asked)
    body = answer.json()
    assert (answer.status_code, body["code"], body["reason"]) == (
        403,
        "plan_limit",
        "allow_domains",
    )
    assert not http.get("/v1/sandboxes/limits").json()["custom_egress_allowlist"]
