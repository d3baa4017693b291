"""The protocol's own programs against a running server: Inspector and conformance suite."""

from __future__ import annotations

import json
import re
from pathlib import Path

from orkestr import Sandbox

from console.launch.layout import checkout
from tests.sandboxes.mcp.conftest import PATH
from tests.sandboxes.mcp.programs import CONFORMANCE, INSPECTOR, run
from tests.sandboxes.mcp.test_tools import NAMES
from tests.sandboxes.mcp.with_token import with_token
from tests.stack import Stack

_BASELINE = Path(__file__).with_name("conformance.yml")
_PASSING = {"server-initialize", "ping", "tools-list", "dns-rebinding-protection"}


def test_the_inspector_lists_the_tools_and_calls_them(
    stack: Stack, token: str, sandbox: Sandbox, tmp_path: Path
) -> None:
    def inspect(*arguments: str, text: str = token) -> tuple[int, str]:
        where = ("--cli", stack.url + PATH, "--transport", "http")
        header = ("--header", f"Authorization: Bearer {text}")
        ran = run(INSPECTOR, *where, *header, *arguments, home=tmp_path)
        return ran.returncode, ran.stdout if ran.returncode == 0 else ran.stdout + ran.stderr

    code, said = inspect("--method", "tools/list", "--strict")  # 6 for a schema others cannot read
    assert code == 0, said
    assert {tool["name"] for tool in json.loads(said)["tools"]} == NAMES
    call = ("--method", "tools/call", "--tool-name", "exec_command", "--tool-arg")
    here = f"sandbox_id={sandbox.id}"
    code, said = inspect(*call, here, "command=echo hello", "timeout_seconds=9")
    assert code == 0, said
    assert json.loads(said)["structuredContent"]["stdout"] == "hello\n"
    code, said = inspect(*call, here, "command=sleep 9", "timeout_seconds=1")
    assert code == 5, said
    assert "exec_timeout" in said
    code, said = inspect("--method", "tools/list", text="ork_nonsense")
    assert code != 0, said


def test_the_conformance_suite_finds_what_the_documents_say(
    stack: Stack, token: str, tmp_path: Path
) -> None:
    with with_token(stack.url, token) as url:
        options = ("--url", url + PATH, "--expected-failures", str(_BASELINE))
        ran = run(CONFORMANCE, "server", *options, "-o", str(tmp_path / "results"), home=tmp_path)
    assert ran.returncode == 0, ran.stdout[-4000:] + ran.stderr
    passed = set(re.findall(r"✓ ([a-z0-9-]+): [1-9]", ran.stdout))
    assert passed >= _PASSING, ran.stdout[-4000:]


def test_each_scenario_that_is_left_out_has_its_reason() -> None:
    reasons = (checkout() / "docs/mcp.md").read_text()
    left_out = re.findall(r"^  - ([a-z0-9-]+)$", _BASELINE.read_text(), re.MULTILINE)
    assert len(left_out) > 20
    assert not [name for name in left_out if f"`{name}`" not in reasons]
