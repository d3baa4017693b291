"""The cookbook of the API page: every recipe runs as it is shown. JavaScript: tests/clients."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp.client.client import Client
from mcp.client.streamable_http import streamable_http_client
from orkestr import Sandbox
from orkestr._client import OrkestrClient

from accounts.models import Plan
from console.recipes import LANGUAGES, TITLES, files
from tests.cast import Cast
from tests.clients.test_javascript import SAID, recipes
from tests.stack import Stack

FILES = {language.key: files(language) for language in LANGUAGES}
CURL = {
    "1": '"stdout":"5050\\n"',
    "4": '"stdout":"kept\\n"',
    "5": "1000",
    "6": '"kind":"exec_exited","code":0',
}
"""What those with curl print, among other things."""
MCP = {"1": "5050\n", "2": "42\n", "4": "kept\n"}
"""What the last command of those by MCP writes."""


def run(stack: Stack, text: str, *command: str, folder: Path) -> str:
    ran = subprocess.run(
        command,
        env={"PATH": "/usr/bin:/bin", "ORKESTR_BASE_URL": stack.url, "ORKESTR_API_KEY": text},
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


def all_ended() -> None:
    made = Sandbox.list(limit=50)
    assert made
    assert {sandbox.status for sandbox in made} == {"terminated"}


def test_each_recipe_is_there_and_none_besides() -> None:
    assert set(FILES["python"]) == set(FILES["javascript"]) == set(TITLES)
    assert (set(FILES["curl"]), set(FILES["mcp"])) == (set(CURL), set(MCP))


def test_the_document_has_the_same_javascript() -> None:
    assert {number: path.read_text() for number, path in FILES["javascript"].items()} == recipes()


@pytest.mark.parametrize("number", SAID)
def test_a_recipe_in_python_does_what_it_says(
    stack: Stack, sandbox_client: OrkestrClient, account: Cast, tmp_path: Path, number: str
) -> None:
    if number == "7":
        account.account.plan = Plan.objects.get(name="payg")
        account.account.save()
    token = account.mint().text
    program = str(FILES["python"][number])
    printed = run(stack, token, sys.executable, program, folder=tmp_path)
    assert [line.rstrip() for line in printed.splitlines()] == SAID[number]
    all_ended()


@pytest.mark.parametrize("number", CURL)
def test_a_recipe_with_curl_does_what_it_says(
    stack: Stack, token: str, sandbox_client: object, tmp_path: Path, number: str
) -> None:
    assert CURL[number] in run(
        stack, token, "bash", "-eu", str(FILES["curl"][number]), folder=tmp_path
    )
    all_ended()


@pytest.mark.parametrize("number", MCP)
def test_a_recipe_by_mcp_does_what_it_says(
    stack: Stack, token: str, sandbox_client: object, number: str
) -> None:
    calls = [json.loads(line) for line in FILES["mcp"][number].read_text().splitlines()]
    assert asyncio.run(_called(stack.url + "/api/sandboxes/mcp", token, calls)) == MCP[number]
    all_ended()


async def _called(url: str, text: str, calls: list[dict[str, Any]]) -> str:
    """The output of the last command. An agent puts in the id that it was given."""
    sandbox_id = said = ""
    headers = {"Authorization": f"Bearer {text}"}
    async with (
        asyncio.timeout(60),
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http)) as client,
    ):
        for call in calls:
            arguments = call["arguments"]
            if "sandbox_id" in arguments:
                arguments["sandbox_id"] = sandbox_id
            result = await client.call_tool(call["name"], arguments)
            assert not result.is_error, result.content
            sandbox_id = result.structured_content.get("id", sandbox_id)
            said = result.structured_content.get("stdout", said)
    return said
