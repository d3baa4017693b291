"""The interpreter in each class of isolation."""

from __future__ import annotations

import asyncio
from typing import Any

from ulid import ULID

from sandboxes.host.code.types import CodeRequest, Told
from sandboxes.host.code_client import CodeClient
from tests.sandboxes.host.hosting import ACTOR, Make, Sandboxed, both


async def run(sandbox: Sandboxed, code: str, *, seconds: int = 60) -> tuple[dict[str, Any], str]:
    """How a cell of the default context ended, and all that came before."""
    request = CodeRequest(f"cell_{ULID()}", code, "default", seconds)
    earlier: list[Told] = []
    client = CodeClient(str(sandbox.host.socket))
    async for told in client.code_stream(sandbox.id, request, actor=ACTOR):
        if told.kind == "done":
            return dict(told.body), repr(earlier)
        earlier.append(told)
    raise AssertionError("no end")


@both
async def test_cells_keep_variables_run_children_and_are_interrupted(make_sandbox: Make) -> None:
    sandbox = await make_sandbox(template="code-interpreter", memory_mb=512)
    _, told = await run(sandbox, "x = 20\n!echo from a child\nprint(x + 1)")
    assert "from a child" in told
    assert "21" in told
    late, _ = await run(sandbox, "while True: pass", seconds=1)
    assert late["interrupted"]
    assert not late["restarted"], "Ctrl-C was enough"
    done, told = await run(sandbox, "x * 3")
    assert "60" in told
    assert done["execution_count"] == 3


async def contexts(sandbox: Sandboxed) -> dict[str, tuple[str, bool]]:
    """Their folders and whether they have a kernel, by their ids."""
    client = CodeClient(str(sandbox.host.socket))
    found = await client.code_contexts(sandbox.id)
    return {one.context_id: (one.cwd, one.alive) for one in found}


@both
async def test_forks_have_the_variables_of_their_source_and_go_their_own_ways(
    make_sandbox: Make,
) -> None:
    source = await make_sandbox(template="code-interpreter", memory_mb=512)
    await run(source, "x = 20")
    snapshot_id = f"snap_{ULID()}"
    client = source.host.client
    kept = await client.snapshot(source.id, snapshot_id=snapshot_id, name="", actor=ACTOR)
    assert (kept.includes_memory, kept.without) == (True, "")
    forks = [await make_sandbox(snapshot=snapshot_id, template=source.spec.template, memory_mb=512)]
    forks.append(
        await make_sandbox(snapshot=snapshot_id, template=source.spec.template, memory_mb=512)
    )
    for number, fork in enumerate(forks, start=1):
        assert await contexts(fork) == {"default": ("/workspace", True)}
        done, told = await run(fork, f"x += {number}; print(x)")
        assert f"{20 + number}" in told
        assert (done["restarted"], done["execution_count"]) == (False, 2)
    for one, value in ((source, 20), (forks[0], 21), (forks[1], 22)):
        _, told = await run(one, "print('x is', x)")
        assert f"x is {value}" in told
        kernels = await one.output("pgrep -fc [k]ernel.py")
        assert kernels == "1\n"


async def test_a_cell_that_runs_is_nobodys_in_a_fork_and_its_context_is_reached_after_it(
    make_sandbox: Make,
) -> None:
    source = await make_sandbox(template="code-interpreter", memory_mb=512)
    await run(source, "import pathlib, time; x = 0")
    text = "while not pathlib.Path('go').exists(): x += 1; print('y' * 3000); time.sleep(0.02)"
    running = asyncio.ensure_future(run(source, f"pathlib.Path('runs').touch()\n{text}"))
    await source.output("until [ -e runs ]; do sleep 0.01; done")
    snapshot_id = f"snap_{ULID()}"
    client = source.host.client
    await client.snapshot(source.id, snapshot_id=snapshot_id, name="", actor=ACTOR)
    fork = await make_sandbox(snapshot=snapshot_id, template=source.spec.template, memory_mb=512)
    await fork.output("sleep 0.3; touch go")
    done, told = await run(fork, "print('x is', x > 0)")
    assert "x is True" in told
    assert "yyy" not in told
    assert (done["restarted"], done["execution_count"]) == (False, 3)
    kinds = [event.kind for event in fork.host.events(fork.id)]
    assert "code.error" not in kinds
    assert not running.done()
    await source.output("touch go")
    done, told = await running
    assert "yyy" in told
    assert done["error"] is None
