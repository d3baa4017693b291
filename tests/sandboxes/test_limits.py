"""What may be asked for, before any plan is looked at."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from accounts.models import Plan
from sandboxes.errors import InvalidRequest, PlanLimit
from sandboxes.limits import (
    SandboxRequest,
    capped_expiry,
    check_command,
    check_path,
    checked,
    isolation_for,
    template_name,
)

GOOD = SandboxRequest(template="python-3.12")
NOW = datetime(2030, 1, 1, tzinfo=UTC)


def test_a_plain_request_is_fine() -> None:
    checked(GOOD)


def test_the_old_name_of_a_template_still_works() -> None:
    assert template_name("ubuntu-24.04") == "debian-12"
    assert template_name("node-22") == "node-22"


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"template": "windows-11"}, "template"),
        ({"template": "x\x00"}, "template"),
        ({"timeout_seconds": 9}, "timeout_seconds"),
        ({"timeout_seconds": 3601}, "timeout_seconds"),
        ({"network": "sometimes"}, "network"),
        ({"isolation": "paper"}, "isolation"),
        ({"region": "moon"}, "region"),
        ({"env": {"1A": "x"}}, "env"),
        ({"env": {"": "x"}}, "env"),
        ({"env": {"A B": "x"}}, "env"),
        ({"env": {"A" * 257: "x"}}, "env"),
        ({"env": {"A=B": "x"}}, "env"),
        ({"env": {"A": "x\x00"}}, "NUL"),
        ({"env": {f"A{n}": "x" for n in range(257)}}, "256"),
        ({"env": {"A": "x" * (128 * 1024)}}, "128 KiB"),
        ({"metadata": {"": "x"}}, "metadata"),
        ({"metadata": {"k" * 129: "x"}}, "metadata"),
        ({"metadata": {"k": "x" * 1025}}, "metadata"),
        ({"metadata": {"k": "\x00"}}, "NUL"),
        ({"metadata": {f"k{n}": "x" for n in range(65)}}, "64"),
    ],
)
def test_what_makes_no_sense_is_told_apart(change: dict[str, object], says: str) -> None:
    with pytest.raises(InvalidRequest, match=says):
        checked(replace(GOOD, **change))  # type: ignore[arg-type]


@pytest.mark.parametrize("command", ["", "  \n", "echo \x00"])
def test_a_command_that_cannot_run_is_refused(command: str) -> None:
    with pytest.raises(InvalidRequest, match="command"):
        check_command(command, env={})


def test_a_command_of_a_megabyte_is_told_to_be_a_file() -> None:
    check_command("x" * 100 * 1024, env={})
    with pytest.raises(InvalidRequest, match="write it to a file"):
        check_command("x" * 1024 * 1024, env={})
    with pytest.raises(InvalidRequest, match="write it to a file"):
        check_command("é" * 60 * 1024, env={})


@pytest.mark.parametrize(
    "path", ["", "workspace/a", "../etc", "/a\x00b", "/" + "n" * 256, "/n" * 2048]
)
def test_a_path_that_cannot_be_one_is_refused(path: str) -> None:
    with pytest.raises(InvalidRequest, match="path"):
        check_path(path)


@pytest.mark.parametrize("path", ["/", "/workspace/ä b", "/" + "n" * 255, "/n" * 2047])
def test_a_path_within_what_linux_takes_is_fine(path: str) -> None:
    check_path(path)


def test_a_clock_restarts_from_now() -> None:
    expiry = capped_expiry(now=NOW, started_at=NOW, seconds=60, lifetime_seconds=None)
    assert expiry == NOW + timedelta(seconds=60)


def test_a_clock_does_not_go_past_the_longest_run_of_the_plan() -> None:
    started = NOW - timedelta(seconds=50)
    assert capped_expiry(
        now=NOW, started_at=started, seconds=60, lifetime_seconds=100
    ) == started + timedelta(seconds=100)
    with pytest.raises(PlanLimit) as caught:
        capped_expiry(now=NOW, started_at=started, seconds=60, lifetime_seconds=50)
    assert caught.value.reason == "lifetime_cap_reached"


@pytest.mark.parametrize(
    ("plan", "asked", "given"),
    [
        ("", None, "runc"),
        ("", "gvisor", "gvisor"),
        ("gvisor", None, "gvisor"),
        ("gvisor", "gvisor", "gvisor"),
    ],
)
def test_the_plan_decides_on_the_isolation_class_then_the_caller_then_the_default(
    plan: str, asked: str | None, given: str
) -> None:
    request = replace(GOOD, isolation=asked)
    assert isolation_for(request, plan=Plan(name="p", isolation=plan), default="runc") == given


def test_a_plan_of_one_isolation_class_refuses_another() -> None:
    request = replace(GOOD, isolation="runc")
    with pytest.raises(PlanLimit, match="isolated by gvisor") as error:
        isolation_for(request, plan=Plan(name="p", isolation="gvisor"), default="runc")
    assert error.value.reason == "isolation"
