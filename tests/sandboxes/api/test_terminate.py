"""DELETE /v1/sandboxes/{id}"""

from __future__ import annotations

import httpx
import pytest
from orkestr import Sandbox, SandboxNotFound, SandboxNotReady
from orkestr._client import OrkestrClient

from sandboxes.models import Sandbox as Row
from tests.cast import Cast
from tests.waiting import until
from timeline.selectors import events_after


def test_it_is_gone_and_everything_in_it_is_refused(sandbox: Sandbox) -> None:
    sandbox.terminate()
    again = Sandbox.get(sandbox.id)
    assert again.status == "terminated"
    with pytest.raises(SandboxNotReady, match="terminated"):
        again.exec("true")
    with pytest.raises(SandboxNotReady):
        list(again.exec_stream("true"))
    with pytest.raises(SandboxNotReady):
        again.files.write("/workspace/a", "x")
    with pytest.raises(SandboxNotReady):
        again.files.read("/workspace/a")
    with pytest.raises(SandboxNotReady):
        again.set_timeout(60)


def test_ending_it_twice_is_fine(http: httpx.Client, sandbox: Sandbox) -> None:
    first = http.delete(f"/v1/sandboxes/{sandbox.id}")
    again = http.delete(f"/v1/sandboxes/{sandbox.id}")
    assert (first.status_code, again.status_code, again.content) == (204, 204, b"")


def test_nobody_ends_anybody_elses(sandbox: Sandbox, other_account: Cast, stack: object) -> None:
    client = OrkestrClient(api_key=other_account.mint().text, base_url=stack.url)  # type: ignore[attr-defined]
    with pytest.raises(SandboxNotFound):
        client.delete(f"/v1/sandboxes/{sandbox.id}")
    assert sandbox.exec("echo alive").stdout == "alive\n"


def test_its_end_is_on_the_timeline_once(sandbox: Sandbox) -> None:
    sandbox.terminate()

    def kinds() -> list[str]:
        return [event.kind for event in events_after(sandbox_id=sandbox.id)]

    until(lambda: "sandbox.terminated" in kinds(), what="the end is stored")
    assert kinds() == ["sandbox.created", "sandbox.running", "sandbox.terminated"]
    row = Row.objects.get(id=sandbox.id)
    assert (row.status, row.reason) == ("terminated", "requested")
    assert row.ended_at is not None
