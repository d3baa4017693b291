"""GET /v1/sandboxes/{id} and GET /v1/sandboxes/limits"""

from __future__ import annotations

import httpx
import pytest
from orkestr import Sandbox, SandboxNotFound
from orkestr._client import OrkestrClient

from sandboxes.api.schemas import LimitsOut, SandboxOut
from tests.cast import Cast


def test_it_is_found_again_from_another_process(sandbox: Sandbox) -> None:
    again = Sandbox.get(sandbox.id)
    assert again == sandbox
    assert again.exec("echo still here").stdout == "still here\n"


def test_the_answer_is_what_its_description_says(http: httpx.Client, sandbox: Sandbox) -> None:
    answer = http.get(f"/v1/sandboxes/{sandbox.id}")
    SandboxOut.model_validate(answer.json())
    assert answer.json().keys() == SandboxOut.model_fields.keys()


@pytest.mark.parametrize("name", ["sbx_" + "0" * 26, "sbx_1", "x", "sbx_%00", "x" * 4000])
def test_what_is_not_there_is_not_found(sandbox_client: OrkestrClient, name: str) -> None:
    with pytest.raises(SandboxNotFound):
        Sandbox.get(name)


def test_a_foreign_one_is_answered_like_an_absent_one(
    http: httpx.Client, sandbox: Sandbox, other_account: Cast
) -> None:
    theirs = {"Authorization": f"Bearer {other_account.mint().text}"}
    absent_id = "sbx_" + "0" * 26
    foreign = http.get(f"/v1/sandboxes/{sandbox.id}", headers=theirs)
    absent = http.get(f"/v1/sandboxes/{absent_id}", headers=theirs)
    assert foreign.status_code == absent.status_code == 404
    assert foreign.text.replace(sandbox.id, "") == absent.text.replace(absent_id, "")


def test_the_limits_are_those_of_the_plan(
    sandbox_client: OrkestrClient, http: httpx.Client, account: Cast
) -> None:
    limits = Sandbox.limits()
    plan = account.account.plan
    assert (limits.plan, limits.max_concurrent) == ("enterprise", plan.max_concurrent)
    assert limits.allowed_sizes == ["small", "medium", "large"]
    assert [(size.cpu, size.memory_mb) for size in limits.sizes] == [
        (1, 1024),
        (2, 4096),
        (4, 8192),
    ]
    assert [region.id for region in limits.regions] == [Sandbox.create(template="debian-12").region]
    body = http.get("/v1/sandboxes/limits").json()
    LimitsOut.model_validate(body)
    assert body.keys() == LimitsOut.model_fields.keys()
