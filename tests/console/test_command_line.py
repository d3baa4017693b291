"""The official command line, `orkestr`, run as people run it, against a running stack."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from orkestr import Sandbox
from playwright.sync_api import Page, expect

from accounts.models import AuditEntry, DeviceLogin, Token
from accounts.policy import USUAL_SCOPES
from tests.cast import Cast
from tests.console.pages import sign_in, watched
from tests.stack import Stack
from tests.waiting import until

ORKESTR = Path(sys.executable).with_name("orkestr")


class CommandLine:
    """With a home folder of its own, where it keeps its token."""

    def __init__(self, home: Path, url: str) -> None:
        self.home = home
        self.env = {"HOME": str(home), "ORKESTR_API_URL": url, "COLUMNS": "200", "BROWSER": "true"}
        self.started: list[subprocess.Popen[str]] = []

    def __call__(self, *words: str, answers: str = "") -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(ORKESTR), *words],
            env=self.env,
            input=answers,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )

    def good(self, *words: str, answers: str = "") -> str:
        ran = self(*words, answers=answers)
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return ran.stdout

    def start(self, *words: str) -> subprocess.Popen[str]:
        process = subprocess.Popen(
            [str(ORKESTR), *words],
            env=self.env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self.started.append(process)
        return process

    @property
    def token(self) -> str:
        kept = json.loads((self.home / ".orkestr/config.json").read_text())
        return str(kept["api_token"])


@pytest.fixture
def orkestr(stack: Stack, tmp_path: Path) -> Iterator[CommandLine]:
    line = CommandLine(tmp_path, stack.url)
    yield line
    for process in line.started:
        process.kill()
        process.communicate(timeout=10)


def asked() -> DeviceLogin:
    """The latest request."""
    until(lambda: DeviceLogin.objects.filter(answered_at=None).exists(), what="it has asked")
    return DeviceLogin.objects.order_by("-created_at")[0]


def test_a_person_signs_a_command_line_in_which_uses_and_forgets_its_token(
    page: Page, stack: Stack, account: Cast, orkestr: CommandLine
) -> None:
    complaints = watched(page)
    login = orkestr.start("login", "--no-browser")
    request = asked()
    sign_in(page, account.operator, to="/device/")
    page.get_by_label("Code").fill(request.code.lower())
    page.get_by_role("button", name="Continue").click()
    expect(page.locator(".device-code")).to_have_text(request.code)
    expect(page.locator("main")).to_contain_text("orkestr CLI on")
    expect(page.locator("main")).to_contain_text("127.0.0.1")
    page.get_by_label("Name of its token").fill("my laptop")
    page.get_by_label("tokens:read").check()
    page.get_by_label("tokens:write").check()
    page.get_by_label("audit:read").check()
    page.get_by_label("30 days").check()
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_role("heading")).to_contain_text("is signed in")
    said, _ = login.communicate(timeout=30)
    assert login.returncode == 0, said
    assert request.code in said
    assert f"{stack.url}/device/?code={request.code}" in said
    assert "Logged in as Operator." in said
    assert "my laptop" in said

    token = Token.objects.get(account=account.account, name="my laptop")
    assert token.created_by == account.operator
    assert token.expires_at is not None
    who = json.loads(orkestr.good("--json", "whoami"))
    assert (who["username"], who["email"]) == ("Operator", account.operator.email)
    made = json.loads(orkestr.good("--json", "tokens", "create", "ci", "--expires-in-days", "365"))
    child = Token.objects.get(account=account.account, name="ci")
    assert made["token"].startswith(child.prefix)
    assert child.scopes == list(USUAL_SCOPES)
    assert child.expires_at == token.expires_at  # no longer than the one that minted it
    listed = orkestr.good("tokens", "list")
    assert "my laptop" in listed
    assert child.lookup in listed
    orkestr.good("tokens", "delete", child.lookup, "--yes")
    child.refresh_from_db()
    assert child.revoked_at is not None
    assert "token.minted" in orkestr.good("activity")

    orkestr.good("logout")
    token.refresh_from_db()
    assert token.revoked_at is not None
    assert "Not authenticated" in orkestr("sbx", "list").stderr
    page.goto(f"/device/?code={request.code}")
    expect(page.get_by_role("alert")).to_contain_text("No login waits under this code")
    actions = AuditEntry.objects.filter(account=account.account).values_list("action", flat=True)
    assert {"device.approved", "token.minted", "token.revoked"} <= set(actions)
    assert [line for line in complaints if "422" not in line] == []


def test_a_refused_command_line_gets_nothing(
    page: Page, account: Cast, orkestr: CommandLine
) -> None:
    login = orkestr.start("login", "--no-browser")
    request = asked()
    sign_in(page, account.owner, to="/")
    page.goto(f"/device/?code={request.code}")
    page.get_by_role("button", name="Refuse").click()
    expect(page.get_by_role("heading")).to_have_text("Refused")
    said, _ = login.communicate(timeout=30)
    assert login.returncode == 1
    assert "refused in the console" in said
    assert not Token.objects.filter(account=account.account).exists()


def test_a_viewer_approves_nothing(page: Page, account: Cast, orkestr: CommandLine) -> None:
    orkestr.good("login", "--no-wait", "--no-browser")
    request = asked()
    sign_in(page, account.viewer, to="/")
    page.goto(f"/device/?code={request.code}")
    expect(page.get_by_role("heading")).to_have_text("Not allowed")
    request.refresh_from_db()
    assert request.answered_at is None


def test_sandboxes_by_the_command_line(
    orkestr: CommandLine, token: str, sandbox_client: object
) -> None:
    assert "Logged in as Owner" in orkestr.good("login", "--token", token)
    made = json.loads(
        orkestr.good("sbx", "create", "debian-12", "--size", "small", "--timeout", "600", "--json")
    )
    sandbox_id = made["id"]
    assert sandbox_id in orkestr.good("sbx", "list")
    assert "running" in orkestr.good("sbx", "info", sandbox_id)
    ran = orkestr("sbx", "exec", sandbox_id, "--", "echo out; echo err >&2; exit 3")
    assert (ran.stdout, ran.stderr, ran.returncode) == ("out\n", "err\n", 3)
    typed = orkestr("sbx", "shell", sandbox_id, answers="echo one > f\ncat f\nfalse\nexit\n")
    assert typed.stdout == "one\n"
    assert "[exit 1]" in typed.stderr
    measured = json.loads(orkestr.good("sbx", "metrics", sandbox_id, "--json"))
    assert measured["sandbox_status"] == "running"
    assert "paused" in orkestr.good("sbx", "pause", sandbox_id)
    refused = orkestr("sbx", "exec", sandbox_id, "true")
    assert refused.returncode == 1
    assert "resume it first" in refused.stderr
    assert "resumed" in orkestr.good("sbx", "resume", sandbox_id)
    assert orkestr.good("sbx", "exec", sandbox_id, "cat f") == "one\n"
    assert "killed" in orkestr.good("sbx", "kill", sandbox_id)
    assert Sandbox.get(sandbox_id).status == "terminated"
    wrong = orkestr("sbx", "info", "sbx_" + "0" * 26)
    assert wrong.returncode == 1
    assert re.search("There is no sandbox", wrong.stderr)
    refused = orkestr("tokens", "create", "more")
    assert refused.returncode == 0, refused.stderr  # this token has every scope
