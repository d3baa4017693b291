"""Who may write on a run, and what is refused."""

from __future__ import annotations

import pytest
from django.test import Client

from accounts.models import User
from sandboxes.notes import event_pin, note_add, note_remove, notes_of
from tests.cast import Cast
from timeline.events import Kind, NewEvent
from timeline.models import EventRow
from timeline.selectors import last_seq
from timeline.services import event_append


@pytest.fixture
def ended_sandbox(account: Cast) -> str:
    """One with a single event."""
    sandbox_id = account.ended_sandbox()
    event_append(sandbox_id=sandbox_id, event=NewEvent(Kind.SANDBOX_CREATED))
    return sandbox_id


def _kinds(sandbox_id: str) -> list[str]:
    rows = EventRow.objects.filter(sandbox_id=sandbox_id, kind__startswith="note.")
    return list(rows.order_by("seq").values_list("kind", flat=True))


def test_what_cannot_be_written_is_refused_and_changes_nothing(
    account: Cast, other_account: Cast, ended_sandbox: str
) -> None:
    mine = account.principal(account.operator)
    note = note_add(principal=mine, sandbox_id=ended_sandbox, text="first\x00").seq
    event_pin(principal=mine, sandbox_id=ended_sandbox, seq=1)
    event_pin(principal=mine, sandbox_id=ended_sandbox, seq=1)
    before = last_seq(sandbox_id=ended_sandbox)
    assert _kinds(ended_sandbox)[-2:] == [Kind.NOTE_ADDED, Kind.NOTE_PINNED]
    base = f"/sandboxes/{ended_sandbox}"
    writes = {
        f"{base}/notes/": {"text": "x"},
        f"{base}/notes/{note}/remove/": {},
        f"{base}/events/1/pin/": {},
        f"{base}/hold/": {},
        f"{base}/release/": {},
    }
    for path, typed in writes.items():
        assert _as(account.viewer).post(path, typed).status_code == 403
        if "hold" not in path and "release" not in path:
            assert _as(other_account.owner).post(path, typed).status_code == 404
    operator, scripted = _as(account.operator), {"HX-Request": "true"}
    for text in ("", "  \n", "x" * 4001):
        answer = operator.post(f"{base}/notes/", {"text": text}, headers=scripted)
        assert answer.status_code == 422
        assert answer["x-message"]
    for path in (f"{base}/events/{before + 1}/pin/", f"{base}/notes/{note + 1}/remove/"):
        assert operator.post(path).status_code == 404
    assert operator.post(f"{base}/notes/", {"text": "x", "about": "1e3"}).status_code == 404
    edit = {"text": "mine now", "note": note}
    assert _as(account.owner).post(f"{base}/notes/", edit).status_code == 403
    assert last_seq(sandbox_id=ended_sandbox) == before
    note_remove(principal=account.principal(), sandbox_id=ended_sandbox, seq=note)
    assert notes_of(sandbox_id=ended_sandbox).notes == []


def _as(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client
