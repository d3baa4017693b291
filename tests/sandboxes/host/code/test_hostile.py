"""Kernels that mean harm. The code of a sandbox can put any program in the kernel's place."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from ulid import ULID

from sandboxes.host.code.types import CodeRequest
from sandboxes.host.code_client import CodeClient
from sandboxes.host.types import HostError
from tests.sandboxes.host.hosting import ACTOR, Make, Sandboxed
from tests.waiting import until

KERNEL = "/usr/local/lib/orkestr/kernel.py"
#: Says that it is ready, then hears of a cell, whose id is in ``cell``.
PREFACE = """
import json, os, struct, sys, time
def say(message):
    body = json.dumps(message).encode()
    raw(struct.pack('<I', len(body)) + body)
def raw(data):
    while data: data = data[os.write(1, data):]
def hear():
    head = os.read(0, 4)
    return json.loads(os.read(0, struct.unpack('<I', head)[0]))
say({'kind': 'ready'})
cell = hear().get('cell')
"""


async def with_kernel(make_sandbox: Make, program: str) -> Sandboxed:
    sandbox = await make_sandbox(template="code-interpreter", memory_mb=512)
    await sandbox.output(f"cat > {KERNEL} <<'END'\n{program}\nEND")
    return sandbox


async def run(sandbox: Sandboxed, code: str = "1", *, seconds: float = 5) -> dict[str, Any]:
    """How a cell of the default context ended."""
    client = CodeClient(str(sandbox.host.socket))
    request = CodeRequest(f"cell_{ULID()}", code, "default", int(seconds))
    async with asyncio.timeout(60):
        async for told in client.code_stream(sandbox.id, request, actor=ACTOR):
            if told.kind == "done":
                return dict(told.body)
    raise AssertionError("no end")


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ("raw(b'\\xff' * 4)", "4294967295 bytes"),
        ("raw(b'garbage, garbage, garbage')", "bytes"),
        ("raw(struct.pack('<I', 5) + b'{\"a\":')", "not JSON"),
        ("say({'kind': 'done', 'cell': cell, 'count': -1, 'truncated': []})", "impossible"),
        (
            "while True: say({'kind': 'stream', 'cell': cell, 'stream': 'stdout', "
            "'text': 'x' * 2**20})",
            "more about one cell",
        ),
        (
            "while True: say({'kind': 'stream', 'cell': 'another', 'stream': 'stdout', "
            "'text': 'x' * 2**20})",
            "more about one cell",
        ),
    ],
)
async def test_one_that_makes_no_sense_is_ended_and_the_host_serves_on(
    make_sandbox: Make, words: str, complaint: str
) -> None:
    sandbox = await with_kernel(make_sandbox, f"{PREFACE}{words}\ntime.sleep(600)")
    done = await run(sandbox, seconds=30)
    assert done["error"]["name"] == "KernelDied"
    assert complaint in done["error"]["value"]
    assert await sandbox.output("pgrep -f [k]ernel.py || echo none") == "none\n"
    died = [one for one in sandbox.host.events(sandbox.id) if one.data.get("what") == "died"]
    assert complaint in died[-1].data["detail"]


async def test_one_that_never_answers_costs_its_time_and_no_more(make_sandbox: Make) -> None:
    program = f"{PREFACE}\nimport signal\nsignal.signal(15, signal.SIG_IGN)\ntime.sleep(600)"
    sandbox = await with_kernel(make_sandbox, program)
    began = time.monotonic()
    done = await run(sandbox, "x" * 900_000, seconds=1)
    assert (done["interrupted"], done["restarted"]) == (True, True)
    assert time.monotonic() - began < 30
    assert await sandbox.output("pgrep -f [k]ernel.py || echo none") == "none\n"


async def test_one_that_does_not_start_is_told_with_its_last_words(make_sandbox: Make) -> None:
    sandbox = await with_kernel(make_sandbox, "raise SystemExit('no, thank you')")
    with pytest.raises(HostError, match="no, thank you") as caught:
        await run(sandbox)
    assert caught.value.code == "kernel_failed"
    client = CodeClient(str(sandbox.host.socket))
    assert await client.code_contexts(sandbox.id) == []


async def test_a_cell_cannot_be_ended_twice_nor_another_be_spoken_for(make_sandbox: Make) -> None:
    program = f"""{PREFACE}
done = {{'kind': 'done', 'count': 1, 'truncated': []}}
say({{'kind': 'error', 'cell': 'another', 'name': 'E', 'value': '', 'traceback': []}})
say(done | {{'cell': 'another'}})
say({{'kind': 'result', 'cell': cell, 'final': True, 'text': 'mine'}})
say(done | {{'cell': cell}}); say(done | {{'cell': cell}})
say({{'kind': 'result', 'cell': cell, 'final': True, 'text': 'late'}})
time.sleep(600)"""
    sandbox = await with_kernel(make_sandbox, program)
    done = await run(sandbox)
    assert (done["error"], done["execution_count"]) == (None, 1)

    def told() -> list[str]:
        return [one.kind for one in sandbox.host.events(sandbox.id) if one.span]

    def is_told() -> bool:
        return "code.done" in told()

    await asyncio.to_thread(until, is_told, what="its end is told")
    assert [kind for kind in told() if kind.startswith("code.")] == [
        "code.run",
        "code.result",
        "code.done",
    ]


async def test_a_cell_that_is_running_when_its_sandbox_ends_has_an_end(make_sandbox: Make) -> None:
    sandbox = await make_sandbox(template="code-interpreter", memory_mb=512)
    running = asyncio.create_task(run(sandbox, "import time; print(1); time.sleep(600)"))
    await asyncio.to_thread(sandbox.host.until_event, sandbox.id, "code.output")
    await sandbox.terminate()
    done = await running
    assert done["error"]["name"] == "KernelDied"
    ended = await asyncio.to_thread(sandbox.host.until_event, sandbox.id, "code.done")
    assert ended.data["status"] == "lost"
