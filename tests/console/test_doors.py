"""What an attacker tries at the doors: comparing secrets byte by byte, and being led elsewhere."""

from __future__ import annotations

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from django.test import Client
from django.utils import timezone

from accounts.tokens import Refused, Stored, fresh, parse, verify
from tests.cast import PASSWORD, Cast

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("accounts", "console", "sandboxes", "timeline")
#: Parts of names of what nobody may find out by how long a comparison takes.
_SECRET = ("digest", "secret", "signature", "pepper", "password", "hmac", "mac_")
#: Comparisons of such names that are about something else: what is compared, and with what.
_ELSEWHERE = {
    ("sandboxes/host/agent/build.py", "digest"),  # of the agent's sources, known to all
}
_ELSEWHERES = [
    "https://elsewhere.example/",
    "//elsewhere.example",
    "///elsewhere.example",
    "/\\elsewhere.example",
    "http:elsewhere.example",
    "javascript:alert(1)",
    "\t//elsewhere.example",
]


def comparisons(path: Path) -> Iterator[tuple[int, str]]:
    """Where names of secrets are compared with ``==`` or ``!=``, to anything but a constant."""
    for node in ast.walk(ast.parse(path.read_text())):
        if not isinstance(node, ast.Compare):
            continue
        if not any(isinstance(op, ast.Eq | ast.NotEq) for op in node.ops):
            continue
        sides = [node.left, *node.comparators]
        if any(isinstance(side, ast.Constant) for side in sides):
            continue
        for side in sides:
            name = side.attr if isinstance(side, ast.Attribute) else getattr(side, "id", "")
            if any(part in name.lower() for part in _SECRET):
                yield node.lineno, name


def test_secrets_are_compared_in_constant_time_everywhere() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{line} {name}"
        for folder in FOLDERS
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, name in comparisons(path)
        if (str(path.relative_to(ROOT)), name) not in _ELSEWHERE
    ]
    assert not found, f"use hmac.compare_digest: {found}"


def test_the_search_for_such_comparisons_finds_one(tmp_path: Path) -> None:
    file = tmp_path / "bad.py"
    file.write_text("def check(given, row):\n    return given == row.digest\n")
    assert list(comparisons(file)) == [(2, "digest")]


def test_an_unknown_token_is_compared_like_a_known_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both take the same path, so that time tells nobody which lookup keys there are."""
    compared: list[tuple[int, int]] = []

    def counting(one: str, other: str) -> bool:
        compared.append((len(one), len(other)))
        return one == other

    monkeypatch.setattr("accounts.tokens.hmac.compare_digest", counting)
    presented = parse(fresh().text)
    assert presented is not None
    stored = Stored("0" * 64, None, None, ())
    compared.clear()
    for known in (None, stored):
        with pytest.raises(Refused, match="not known here"):
            verify(presented, known, address="127.0.0.1", now=timezone.now())
    assert compared == [(64, 64), (64, 64)]


@pytest.mark.parametrize(("scheme", "prefix"), [("http", ""), ("https", "__Host-")])
def test_over_tls_cookies_belong_to_this_host_alone(scheme: str, prefix: str) -> None:
    """Else a page of a sandbox under the same domain could sign people in as somebody else."""
    told = subprocess.run(
        [
            sys.executable,
            "-c",
            "import console.settings as s; print(s.SESSION_COOKIE_NAME, "
            "s.CSRF_COOKIE_NAME, s.SESSION_COOKIE_SECURE, s.CSRF_COOKIE_SECURE)",
        ],
        env={**os.environ, "ORKESTR_BASE_URL": f"{scheme}://console.example.org"},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    ).stdout.split()
    secure = str(scheme == "https")
    assert told == [f"{prefix}orkestr_session", f"{prefix}orkestr_csrf", secure, secure]


@pytest.mark.parametrize("target", _ELSEWHERES)
def test_signing_in_leads_to_a_page_of_ours(account: Cast, target: str) -> None:
    typed = {"email": account.owner.email, "password": PASSWORD, "next": target}
    assert Client().post("/login/", typed)["Location"] == "/"


@pytest.mark.parametrize("target", _ELSEWHERES)
@pytest.mark.parametrize("header", ["Referer", "HX-Current-URL"])
def test_acting_leads_back_to_a_page_of_ours(account: Cast, header: str, target: str) -> None:
    """Whatever a browser says where it came from, and whatever fields name a way back."""
    client = Client()
    client.force_login(account.owner)
    sandbox_id = account.ended_sandbox()
    fields = dict.fromkeys(("next", "back", "return", "tab", "from", "to"), target)
    for act in ("extend", "notes"):
        answer = client.post(f"/sandboxes/{sandbox_id}/{act}/", fields, headers={header: target})
        for name in ("Location", "HX-Location", "HX-Redirect", "HX-Push-Url"):
            assert "elsewhere" not in answer.headers.get(name, "")
            assert "javascript" not in answer.headers.get(name, "")
