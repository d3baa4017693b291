"""The interpreter in each class of isolation."""

from __future__ import annotations

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
