"""POST /v1/sandboxes"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import httpx
import pytest
from orkestr import OrkestrError, PlanLimitError, Sandbox
from orkestr._client import OrkestrClient

from accounts.models import Plan
from sandboxes.api.schemas import SandboxOut
from tests.cast import Cast
from tests.stack import Stack

TEMPLATES = {
    "python-3.12": "python3 -c 'import sys; print(sys.version_info[:2])'",
    "python-3.12-bare": "python3 -c 'import sys; print(sys.version_info[:2])'",
    "node-22": "node -p 'process.versions.node.split(\".\")[0]'",
    "debian-12": ". /etc/os-release; echo $ID-$VERSION_ID",
}
SAYS = {
    "python-3.12": "(3, 12)",
    "python-3.12-bare": "(3, 12)",
    "node-22": "22",
    "debian-12": "debian-12",
}


@pytest.mark.parametrize("template", TEMPLATES)
def test_it_runs_when_the_answer_comes(sandbox_client: OrkestrClient, template: str) -> None:
    with Sandbox.create(template=template) as sandbox:
        assert sandbox.status == "running"
        assert sandbox.template == template
        assert sandbox.exec(TEMPLATES[template]).stdout.strip() == SAYS[template]


def test_what_was_asked_for_is_what_is_there(sandbox_client: OrkestrClient) -> None:
    sandbox = Sandbox.create(
        template="debian-12",
        size="medium",
        timeout_seconds=120,
        env={"GREETING": "hello"},
        metadata={"agent": "a1", "run": "7"},
        auto_resume=True,
    )
    assert (sandbox.cpu, sandbox.memory_mb, sandbox.network) == (2.0, 4096, "off")
    assert sandbox.metadata == {"agent": "a1", "run": "7"}
    assert sandbox.expires_at - sandbox.created_at == timedelta(seconds=120)
    assert sandbox.auto_resume
    assert sandbox.exec("echo $GREETING").stdout == "hello\n"


def test_the_answer_is_what_its_description_says(http: httpx.Client) -> None:
    answer = http.post("/v1/sandboxes", json={"template": "debian-12"})
    assert answer.status_code == 201
    body = SandboxOut.model_validate(answer.json())
    assert (body.id[:4], body.status, body.size) == ("sbx_", "running", "small")
    assert answer.json().keys() == SandboxOut.model_fields.keys()
    http.delete(f"/v1/sandboxes/{body.id}")


def test_the_first_version_of_the_wire_still_works(http: httpx.Client) -> None:
    asked = {"template": "ubuntu-24.04", "cpu": 2, "memory_mb": 2048}
    answer = http.post("/v1/sandboxes", json=asked)
    assert answer.status_code == 201
    assert (answer.json()["size"], answer.json()["template"]) == ("medium", "debian-12")
    http.delete(f"/v1/sandboxes/{answer.json()['id']}")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"template": "windows-11"}, "no template"),
        ({"template": None}, "Give a template"),
        ({"template": 12}, "template"),
        ({"template": "debian-12", "snapshot": "snap_1"}, "not both"),
        ({"size": "huge"}, "size must be one of"),
        ({"network": "sometimes"}, "network"),
        ({"timeout_seconds": 9}, "timeout_seconds"),
        ({"timeout_seconds": 3601}, "timeout_seconds"),
        ({"timeout_seconds": "600"}, "timeout_seconds"),
        ({"on_timeout": "explode"}, "on_timeout"),
        ({"env": {"A B": "x"}}, "env"),
        ({"env": {"A": 1}}, "env"),
        ({"env": ["A"]}, "env"),
        ({"metadata": {"k": "v" * 2000}}, "metadata"),
        ({"metadata": {"k": "a\x00b"}}, "NUL"),
        ({"region": "moon"}, "region"),
        ({"cpu": -1}, "cpu"),
        ({"colour": "blue"}, "colour is not a field"),
    ],
)
def test_what_makes_no_sense_is_told_in_a_sentence(
    http: httpx.Client, change: dict[str, object], says: str
) -> None:
    answer = http.post("/v1/sandboxes", json={"template": "debian-12", **change})
    assert answer.status_code == 422
    assert says in answer.json()["detail"]


def test_the_client_shows_the_sentence(sandbox_client: OrkestrClient) -> None:
    with pytest.raises(OrkestrError, match="use one of"):
        Sandbox.create(template="windows-11")


def on_plan(account: Cast, name: str) -> None:
    account.account.plan = Plan.objects.get(name=name)
    account.account.save()


def test_a_size_above_the_plan_is_a_plan_limit(
    sandbox_client: OrkestrClient, http: httpx.Client, account: Cast
) -> None:
    on_plan(account, "free")
    with pytest.raises(PlanLimitError, match="covers the sizes small"):
        Sandbox.create(template="debian-12", size="large")
    answer = http.post("/v1/sandboxes", json={"template": "debian-12", "size": "large"})
    body = answer.json()
    assert (answer.status_code, body["code"], body["reason"]) == (403, "plan_limit", "size")


def test_a_race_of_creates_ends_at_the_cap_and_not_beyond(
    sandbox_client: OrkestrClient, account: Cast
) -> None:
    on_plan(account, "payg")
    cap = Sandbox.limits().max_concurrent

    def create(_: int) -> Sandbox | None:
        try:
            return Sandbox.create(template="debian-12")
        except PlanLimitError:
            return None

    with ThreadPoolExecutor(cap + 10) as pool:
        made = [one for one in pool.map(create, range(cap + 10)) if one]
    assert len(made) == cap
    assert len(Sandbox.list(status="running")) == cap
    made[0].terminate()
    Sandbox.create(template="debian-12").terminate()


def test_it_makes_nothing_when_it_says_no(http: httpx.Client, account: Cast) -> None:
    on_plan(account, "free")
    http.post("/v1/sandboxes", json={"template": "debian-12", "size": "large"})
    http.post("/v1/sandboxes", json={"template": "windows-11"})
    assert http.get("/v1/sandboxes").json()["total"] == 0


def test_without_its_host_it_says_to_try_again(stack: Stack, http: httpx.Client) -> None:
    stack.stop("host")
    answer = http.post("/v1/sandboxes", json={"template": "debian-12"})
    assert (answer.status_code, answer.json()["code"]) == (503, "host_unreachable")
    assert int(answer.headers["Retry-After"]) == answer.json()["retry_after"] > 0
    (failed,) = http.get("/v1/sandboxes").json()["sandboxes"]
    assert failed["status"] == "failed"
