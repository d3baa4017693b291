"""The JavaScript client and the recipes of docs/javascript.md, in Node against a running stack."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from orkestr import Sandbox
from playwright.sync_api import Browser, Route

from accounts.models import Plan
from console.launch.layout import checkout
from tests.cast import Cast
from tests.node import MODULES, node
from tests.stack import Stack
from tests.waiting import until
from timeline.selectors import verify

CLIENT = checkout() / "clients/js"
NAME = "orkestr-console-client"
SCRIPTS = Path(__file__).parent / "scripts"
SAID = {
    "1": ["5050"],
    "2": ["0", "1 cat: missing: No such file or directory", "0 42"],
    "3": ["pip 0", "elsewhere refused"],
    "4": ["kept", "runs"],
    "5": ["42"],
    "6": ["step 1", "step 2", "step 3", "exit 0", "begun", "runs on"],
    "7": ["all done", "one more is too many"],
    "8": ["exec_timeout", "running started"],
    "9": ["quick", "true"],
}
"""What each recipe prints."""


def recipes() -> dict[str, str]:
    page = (checkout() / "docs/javascript.md").read_text()
    return dict(re.findall(r"^## (\d)\. .*?\n.*?```js\n(.*?)```", page, re.MULTILINE | re.DOTALL))


class Scripts:
    """A folder with the client installed, where scripts run with a token."""

    def __init__(self, folder: Path, url: str, text: str) -> None:
        self.folder = folder
        modules = folder / "node_modules"
        modules.mkdir()
        (modules / NAME).symlink_to(CLIENT)
        self.env = {"ORKESTR_BASE_URL": url, "ORKESTR_API_KEY": text, "NO_COLOR": "1"}

    def run(self, source: str, **env: str) -> list[str]:
        """The lines that it prints."""
        script = self.folder / "script.mjs"
        script.write_text(source)
        ran = subprocess.run(
            [str(node()), script.name],
            cwd=self.folder,
            env={**self.env, **env},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=100,
            check=False,
        )
        assert ran.returncode == 0, ran.stdout + ran.stderr
        return [line.rstrip() for line in ran.stdout.splitlines()]


@pytest.fixture
def scripts(stack: Stack, token: str, tmp_path: Path, sandbox_client: object) -> Scripts:
    """``sandbox_client`` ends whatever a script that failed has left."""
    return Scripts(tmp_path, stack.url, token)


@pytest.mark.parametrize("number", SAID)
def test_a_recipe_does_what_it_says(scripts: Scripts, account: Cast, number: str) -> None:
    if number == "7":
        account.account.plan = Plan.objects.get(name="payg")
        account.account.save()
    assert scripts.run(recipes()[number]) == SAID[number]
    made = Sandbox.list(limit=50)
    assert made
    assert {sandbox.status for sandbox in made} == {"terminated"}
    until(lambda: verify(sandbox_id=made[0].id).gapless, what="its timeline has no gap")


def test_files_and_streams_are_exact(scripts: Scripts) -> None:
    assert scripts.run((SCRIPTS / "files.mjs").read_text()) == [
        "200000",
        "true",
        '"\ufeffétat €\\n"',
        "c true, text false",
        "true 200000 600 true",
        "false",
        "1 not_permitted",
        "by link",
        '{"stdout":"€","stderr":"hi x\\n","exitCode":3,"durationMs":0}',
        '{"stdout":"€","stderr":"hi\\n","exitCode":3,"durationMs":0}',
        "20 true",
    ]


def test_metrics_are_told_now_since_a_moment_and_after_the_end(scripts: Scripts) -> None:
    assert scripts.run((SCRIPTS / "metrics.mjs").read_text()) == [
        "true running true 9",
        "1 number number",
        "1073741824 true true",
        "true number true",
        "true",
        "terminated null null 0",
        "true true",
    ]


def test_what_goes_wrong_has_a_class_of_its_own(scripts: Scripts, account: Cast) -> None:
    reader = account.mint(scopes=["sandboxes:read"]).text
    assert scripts.run((SCRIPTS / "errors.mjs").read_text(), READER=reader) == [
        "AuthError 403  true true",
        "AuthError 401  true true",
        "SandboxNotFound 404  true true",
        "ExecKilled 409 exec_killed true true",
        "ExecTimeout 200 exec_timeout true true",
        "APIError  is_directory true true",
        "AuthError 403 not_permitted true true",
        "paused SandboxNotReady 409  true true",
        "1 0",
        "APIError 422  true true",
        "TypeError There is no option timeout_seconds;",
        "TypeError Give apiKey to a client, and the cli",
        "ConnectionError   true true",
        "AbortError",
    ]


def _serve(route: Route) -> None:
    """Files of the client, as if the page's own server had them."""
    route.fulfill(path=CLIENT / "src" / route.request.url.rpartition("/")[2])


def test_it_works_in_a_browser(browser: Browser, stack: Stack, token: str) -> None:
    context = browser.new_context(base_url=stack.url, bypass_csp=True)
    try:
        page = context.new_page()
        page.route(
            "**/js/*",
            lambda route: route.fulfill(path=CLIENT / "src" / route.request.url.rpartition("/")[2]),
        )
        page.goto("/login/")
        said = page.evaluate(
            """async (apiKey) => {
              const { OrkestrClient, Sandbox } = await import("/js/index.js");
              const client = new OrkestrClient({ apiKey });
              return Sandbox.withTemp({ template: "debian-12", client }, async (sandbox) => {
                let output = "";
                const chunks = sandbox.execStream("echo from a page");
                for await (const chunk of chunks) output += chunk.data;
                return output;
              });
            }""",
            token,
        )
    finally:
        context.close()
    assert said == "from a page\n"


def test_its_types_are_what_its_sources_say(tmp_path: Path) -> None:
    """Checks the sources strictly, and that `types/` was made of them."""
    tsc = [str(node()), str(MODULES / "typescript/bin/tsc"), "-p", str(CLIENT), "--outDir"]
    ran = subprocess.run(
        [*tsc, str(tmp_path)], capture_output=True, text=True, timeout=100, check=False
    )
    assert ran.returncode == 0, ran.stdout
    made = {path.name: path.read_text() for path in tmp_path.glob("*.d.ts")}
    assert made == {path.name: path.read_text() for path in (CLIENT / "types").glob("*.d.ts")}


def test_the_recipes_pass_the_type_checker(tmp_path: Path) -> None:
    (tmp_path / "node_modules").mkdir()
    shutil.copytree(CLIENT, tmp_path / "node_modules" / NAME)
    for number, source in recipes().items():
        (tmp_path / f"recipe{number}.mjs").write_text(source)
    options = ["--allowJs", "--checkJs", "--strict", "--noEmit", "--module", "nodenext"]
    options += ["--target", "es2022", "--lib", "es2022,dom,dom.asynciterable"]
    names = [path.name for path in tmp_path.glob("*.mjs")]
    tsc = [str(node()), str(MODULES / "typescript/bin/tsc"), *options, *names]
    ran = subprocess.run(
        tsc, cwd=tmp_path, capture_output=True, text=True, timeout=100, check=False
    )
    assert ran.returncode == 0, ran.stdout


def test_it_depends_on_nothing() -> None:
    assert "ependencies" not in (CLIENT / "package.json").read_text()
    for path in (CLIENT / "src").glob("*.js"):
        assert not re.search(r'from "[^.]', path.read_text()), path
