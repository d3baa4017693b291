"""The cookbook, with the official client and nothing else; each seen on its sandbox's timeline.

Packages come from the registries of the machine that runs the tests, through the proxy.
"""

from __future__ import annotations

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from orkestr import (
    AuthError,
    ExecTimeout,
    PlanLimitError,
    Sandbox,
    SandboxNotFound,
    SandboxNotReady,
)
from orkestr._client import OrkestrClient

from accounts.models import Plan
from tests.cast import Cast
from tests.stack import Stack
from tests.waiting import until
from timeline.selectors import events_after, verify


def kinds(sandbox: Sandbox) -> list[str]:
    return [event.kind for event in events_after(sandbox_id=sandbox.id, limit=1000)]


def seen(sandbox: Sandbox, *expected: str) -> None:
    """All of ``expected`` are on the timeline, in this order, and it has no gap."""

    def there() -> bool:
        rest = iter(kinds(sandbox))
        return all(kind in rest for kind in expected)

    until(there, what=f"{expected} are on the timeline")
    assert verify(sandbox_id=sandbox.id).gapless


def run_generated(code: str) -> tuple[str, Sandbox]:
    with Sandbox.create(template="python-3.12") as sandbox:
        sandbox.files.write("/workspace/main.py", code)
        result = sandbox.exec("python3 main.py")
        return (result.stdout if result.exit_code == 0 else result.stderr), sandbox


def test_1_run_model_generated_code(sandbox_client: OrkestrClient) -> None:
    output, sandbox = run_generated("print(sum(range(101)))")
    assert output == "5050\n"
    assert Sandbox.get(sandbox.id).status == "terminated"
    with pytest.raises(SandboxNotReady):
        Sandbox.get(sandbox.id).files.read("/workspace/main.py")
    seen(
        sandbox,
        "sandbox.created",
        "sandbox.running",
        "file.written",
        "command.started",
        "command.output",
        "command.exited",
        "sandbox.terminated",
    )


def test_1_code_that_fails_tells_why(sandbox_client: OrkestrClient) -> None:
    output, _ = run_generated("print(1 / 0)")
    assert "ZeroDivisionError" in output


def test_2_an_agent_loop(sandbox_client: OrkestrClient) -> None:
    sandbox = Sandbox.create(template="python-3.12", network="restricted")
    try:
        sandbox.exec("mkdir -p src && echo 'def add(a, b): return a - b' > src/calc.py")
        test = "cd src && python3 -c 'import calc; assert calc.add(2, 2) == 4, calc.add(2, 2)'"
        failed = sandbox.exec(test, timeout_seconds=120)
        assert (failed.exit_code, "AssertionError: 0" in failed.stderr) == (1, True)
        seen(sandbox, "command.exited", "command.started", "command.exited")
        sandbox.exec("sed -i 's/a - b/a + b  # fixed/' src/calc.py", timeout_seconds=120)
        assert sandbox.exec(test, timeout_seconds=120).exit_code == 0
    finally:
        sandbox.terminate()
    seen(sandbox, *["command.started", "command.exited"] * 4, "sandbox.terminated")


#: Asks the index that pip in the sandbox uses: its own, or the mirror it is pointed at.
ASK_THE_INDEX = """
import os, requests
from pip._internal.models.index import PyPI
answer = requests.get(os.environ.get("PIP_INDEX_URL") or PyPI.url, stream=True, timeout=30)
print(answer.status_code)
"""


def test_3_install_packages_with_restricted_egress(sandbox_client: OrkestrClient) -> None:
    with Sandbox.create(template="python-3.12-bare", network="restricted") as sandbox:
        assert sandbox.exec("python3 -c 'import requests'").exit_code != 0
        installed = sandbox.exec("pip install --quiet requests", timeout_seconds=120)
        assert (installed.exit_code, installed.stderr) == (0, "")
        sandbox.files.write("/workspace/ask.py", ASK_THE_INDEX)
        assert sandbox.exec("python3 ask.py").stdout == "200\n"
        other = "import requests; requests.get('https://not-listed.example.org/')"
        assert "403" in sandbox.exec(f'python3 -c "{other}"').stderr
    seen(sandbox, "command.started", "network.allowed", "network.denied", "sandbox.terminated")
    (denied,) = events_after(sandbox_id=sandbox.id, kinds=["network.denied"])
    assert denied.data["allow"] == "not-listed.example.org"


def test_3_an_own_allowlist_leaves_out_the_registries(sandbox_client: OrkestrClient) -> None:
    own = ["example.org"]
    with Sandbox.create(
        template="python-3.12-bare", network="restricted", allow_domains=own
    ) as sandbox:
        refused = sandbox.exec("pip install --retries 0 requests", timeout_seconds=60)
        assert refused.exit_code != 0
    seen(sandbox, "network.denied")


COUNTER = """
const http = require("http"), _ = require("lodash");
let calls = 0;
http.createServer((_request, answer) => answer.end(String(++calls))).listen(3000);
"""
ASK_IT = 'fetch("http://127.0.0.1:3000").then(a => a.text()).then(console.log)'


def test_4_park_a_session_between_turns(
    sandbox_client: OrkestrClient, stack: Stack, token: str
) -> None:
    sandbox = Sandbox.create(template="node-22", network="restricted", timeout_seconds=3600)
    installed = sandbox.exec("npm init -y && npm install lodash", timeout_seconds=120)
    assert installed.exit_code == 0, installed.stderr
    sandbox.files.write("/workspace/counter.js", COUNTER)
    sandbox.exec("nohup node counter.js >log 2>&1 & echo $! > pid")
    until(lambda: sandbox.exec(f"node -e '{ASK_IT}'").stdout == "1\n", what="it counts")
    assert sandbox.pause() == sandbox.id
    assert sandbox.refresh().status == "paused"

    later = (
        "import sys; from orkestr import Sandbox\n"
        "sandbox = Sandbox.resume(sys.argv[1])\n"
        "print(sandbox.exec(sys.argv[2]).stdout, end='')"
    )
    look = f"kill -0 $(cat pid) && node -e '{ASK_IT}' && ls node_modules | grep -x lodash"
    done = subprocess.run(
        [sys.executable, "-c", later, sandbox.id, look],
        env={**os.environ, "ORKESTR_BASE_URL": stack.url, "ORKESTR_API_KEY": token},
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
    )
    assert done.stdout == "2\nlodash\n"
    sandbox.terminate()
    seen(sandbox, "network.allowed", "sandbox.paused", "sandbox.resumed", "command.started")


def test_5_data_in_artifact_out(sandbox_client: OrkestrClient) -> None:
    script = (
        "import csv, json\n"
        "rows = list(csv.DictReader(open('sales.csv')))\n"
        "json.dump({'total': sum(int(r['amount']) for r in rows)}, open('out.json', 'w'))\n"
    )
    with Sandbox.create(template="python-3.12") as sandbox:
        sandbox.files.write("/workspace/sales.csv", "name,amount\na,40\nb,2\n")
        sandbox.files.write("/workspace/sum.py", script)
        assert sandbox.exec("python3 sum.py").exit_code == 0
        assert sandbox.files.read("/workspace/out.json") == '{"total": 42}'
    seen(sandbox, "file.written", "file.written", "command.exited", "file.read")


def test_6_stream_a_long_command(sandbox_client: OrkestrClient) -> None:
    with Sandbox.create(template="debian-12") as sandbox:
        command = "for i in 1 2 3; do echo step $i; until [ -e go$i ]; do sleep 0.01; done; done"
        steps = []
        for chunk in sandbox.exec_stream(command):
            if chunk.is_final:
                break
            steps.append(chunk.data)
            sandbox.files.write(f"/workspace/go{len(steps)}", "")
        assert steps == ["step 1\n", "step 2\n", "step 3\n"]
        assert chunk.exit_code == 0
        seen(sandbox, "command.started", "command.output", "command.exited")


def test_6_breaking_off_leaves_it_running_until_its_own_timeout(
    sandbox_client: OrkestrClient,
) -> None:
    with Sandbox.create(template="debian-12") as sandbox:
        for _ in sandbox.exec_stream("echo $$ > pid; echo begun; sleep 60", timeout_seconds=2):
            break
        assert sandbox.exec("kill -0 $(cat pid)").exit_code == 0
        until(lambda: sandbox.exec("kill -0 $(cat pid)").exit_code != 0, what="its own timeout")
        seen(sandbox, "command.started", "command.exited")


def test_7_fan_out_to_the_plans_limit_and_one_more(
    sandbox_client: OrkestrClient, account: Cast
) -> None:
    account.account.plan = Plan.objects.get(name="payg")
    account.account.save()
    most = Sandbox.limits().max_concurrent

    def work(number: int) -> Sandbox:
        sandbox = Sandbox.create(template="debian-12")
        assert sandbox.exec(f"echo $(({number} * 2))").stdout == f"{number * 2}\n"
        return sandbox

    with ThreadPoolExecutor(most) as pool:
        made = list(pool.map(work, range(most)))
    with pytest.raises(PlanLimitError, match=f"at most {most}"):
        Sandbox.create(template="debian-12")
    for sandbox in made:
        seen(sandbox, "sandbox.running", "command.exited")


def test_8_a_timeout_leaves_the_sandbox_and_a_partial_log(sandbox_client: OrkestrClient) -> None:
    with Sandbox.create(template="python-3.12") as sandbox:
        with pytest.raises(ExecTimeout):
            sandbox.exec("(echo started; sleep 60; echo done) > /workspace/log", timeout_seconds=1)
        assert sandbox.refresh().status == "running"
        assert sandbox.files.read("/workspace/log") == "started\n"
        seen(sandbox, "command.started", "command.exited")
        (exited,) = events_after(sandbox_id=sandbox.id, kinds=["command.exited"])
        assert exited.data["timed_out"]


def test_8_out_of_concurrency_is_a_plan_limit(sandbox_client: OrkestrClient, account: Cast) -> None:
    account.account.plan = Plan.objects.get(name="free")
    account.account.save()
    with Sandbox.create(template="debian-12"), pytest.raises(PlanLimitError):
        Sandbox.create(template="debian-12")


def test_9_production_habits(
    sandbox_client: OrkestrClient, stack: Stack, account: Cast, other_account: Cast
) -> None:
    limits = Sandbox.limits()
    text = account.mint(scopes=["sandboxes:read"]).text
    reader = OrkestrClient(api_key=text, base_url=stack.url)
    stranger = OrkestrClient(api_key=other_account.mint().text, base_url=stack.url)
    assert limits.max_concurrent > 0
    made = Sandbox.create(template="debian-12", size=limits.allowed_sizes[0], timeout_seconds=60)
    with closing(reader), closing(stranger), made as sandbox:
        assert sandbox.exec("echo quick", timeout_seconds=5).stdout == "quick\n"
        assert Sandbox.get(sandbox.id, client=reader).status == "running"
        with pytest.raises(AuthError) as refused:
            Sandbox.get(sandbox.id, client=reader).exec("true")
        assert refused.value.status_code == 403
        with pytest.raises(SandboxNotFound):
            Sandbox.get(sandbox.id, client=stranger)
        sandbox.pause()
        assert Sandbox.get(sandbox.id, client=reader).status == "paused"
    seen(sandbox, "sandbox.running", "command.exited", "sandbox.paused", "sandbox.terminated")
