"""GET /v1/sandboxes"""

from __future__ import annotations

import httpx
import pytest
from orkestr import Sandbox
from orkestr._client import OrkestrClient

from sandboxes.api.schemas import PageOut
from sandboxes.models import Sandbox as Row
from sandboxes.models import Status
from sandboxes.reserving import sandbox_reserve
from tests.cast import Cast


def rows(account: Cast, *, status: str = Status.TERMINATED, **changes: object) -> Row:
    """A row without a sandbox behind it: a list is about rows."""
    from sandboxes.limits import SandboxRequest

    request = SandboxRequest("debian-12", **changes)  # type: ignore[arg-type]
    row = sandbox_reserve(principal=account.principal(), request=request)[0]
    Row.objects.filter(id=row.id).update(status=status)
    return row


def test_it_pages_through_all_of_them_newest_first(
    sandbox_client: OrkestrClient, account: Cast
) -> None:
    made = [rows(account).id for _ in range(7)]
    listed = [sandbox.id for sandbox in Sandbox.list(limit=3)]
    assert listed == made[::-1]
    assert [sandbox.id for sandbox in Sandbox.list(limit=3, max_results=4)] == made[:2:-1]


def test_a_status_is_filtered_for(sandbox_client: OrkestrClient, account: Cast) -> None:
    failed = rows(account, status=Status.FAILED)
    rows(account)
    assert [one.id for one in Sandbox.list(status="failed")] == [failed.id]
    assert Sandbox.list(status="paused") == []


def test_metadata_has_to_match_in_every_key(sandbox_client: OrkestrClient, account: Cast) -> None:
    both = rows(account, metadata={"user id": "42", "ü[]": "&="})
    rows(account, metadata={"user id": "42"})
    found = Sandbox.list(metadata={"user id": "42", "ü[]": "&="})
    assert [one.id for one in found] == [both.id]
    assert len(Sandbox.list(metadata={"user id": "42"})) == 2
    assert Sandbox.list(metadata={"user id": "4"}) == []


def test_nobody_sees_anybody_elses(
    sandbox_client: OrkestrClient, account: Cast, other_account: Cast
) -> None:
    mine = rows(account)
    rows(other_account)
    assert [one.id for one in Sandbox.list()] == [mine.id]


def test_the_answer_is_what_its_description_says(http: httpx.Client, account: Cast) -> None:
    rows(account)
    rows(account)
    answer = http.get("/v1/sandboxes", params={"limit": 1})
    page = PageOut.model_validate(answer.json())
    assert (page.total, len(page.sandboxes)) == (2, 1)
    rest = http.get("/v1/sandboxes", params={"limit": 1, "cursor": page.next_cursor}).json()
    assert (len(rest["sandboxes"]), rest["next_cursor"]) == (1, None)


@pytest.mark.parametrize(
    "query",
    [
        "limit=0",
        "limit=201",
        "limit=many",
        "limit=",
        "status=asleep",
        "cursor=",
        "cursor=nonsense",
        "cursor=c2J4Xw",
        "cursor=%00",
        "cursor=" + "x" * 5000,
        "metadata[a]=%00",
    ],
)
def test_a_question_without_sense_is_told_in_a_sentence(http: httpx.Client, query: str) -> None:
    answer = http.get(f"/v1/sandboxes?{query}")
    assert answer.status_code == 422
    assert isinstance(answer.json()["detail"], str)


def test_two_hundred_at_once_are_fine(http: httpx.Client) -> None:
    assert http.get("/v1/sandboxes?limit=200").status_code == 200
