"""The isolation class of a sandbox: asked for, decided by the plan, kept by forks."""

from __future__ import annotations

import os
from collections.abc import Iterator

import httpx
import pytest
from orkestr import Sandbox
from orkestr._client import OrkestrClient

from accounts.models import Plan
from sandboxes.models import Isolation
from sandboxes.models import Sandbox as Row
from tests.cast import Cast
from timeline.selectors import events_after

NEW = {"template": "debian-12"}


@pytest.fixture
def gvisor_plan(account: Cast) -> Iterator[Plan]:
    """The account's plan, edited by an operator to isolate by gVisor."""
    plan = account.account.plan
    plan.isolation = Isolation.GVISOR
    plan.save(update_fields=["isolation"])
    yield plan
    plan.isolation = ""
    plan.save(update_fields=["isolation"])


def test_a_class_is_asked_for_and_told_and_its_forks_are_of_it(
    http: httpx.Client, sandbox_client: OrkestrClient
) -> None:
    made = http.post("/v1/sandboxes", json={**NEW, "isolation": "gvisor"})
    assert made.status_code == 201, made.text
    assert made.json()["isolation"] == "gvisor"
    sandbox = Sandbox.get(made.json()["id"])
    assert sandbox.exec("uname -r").stdout.strip() != os.uname().release
    sandbox.files.write("/workspace/file", "base")
    snapshot = sandbox.snapshot("warm")
    (created,) = events_after(sandbox_id=sandbox.id, kinds=["sandbox.created"])
    assert created.data["isolation"] == "gvisor"
    fork = Sandbox.create(snapshot=snapshot.id)
    assert Row.objects.get(id=fork.id).isolation == "gvisor"
    assert fork.files.read("/workspace/file") == "base"
    sandbox.pause()
    sandbox = Sandbox.resume(sandbox.id)
    assert sandbox.exec("cat file").stdout == "base"


def test_the_default_is_runc_and_a_plan_may_decide_otherwise(
    http: httpx.Client, gvisor_plan: Plan
) -> None:
    refused = http.post("/v1/sandboxes", json={**NEW, "isolation": "runc"})
    assert refused.status_code == 403
    assert refused.json()["reason"] == "isolation"
    made = http.post("/v1/sandboxes", json=NEW).json()
    assert (made["isolation"], made["status"]) == ("gvisor", "running")
    gvisor_plan.isolation = ""
    gvisor_plan.save(update_fields=["isolation"])
    assert http.post("/v1/sandboxes", json=NEW).json()["isolation"] == "runc"


def test_a_class_that_is_none_is_refused(http: httpx.Client) -> None:
    refused = http.post("/v1/sandboxes", json={**NEW, "isolation": "paper"})
    assert refused.status_code == 422
