"""For how long timelines are kept: what goes, what stays, and who says so."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from accounts.models import Account, AuditEntry
from accounts.policy import Forbidden
from sandboxes.errors import InvalidRequest
from sandboxes.models import Sandbox, Status
from sandboxes.notes import event_pin, note_add
from sandboxes.retention import forecast, retention_apply, retention_set
from tests.cast import Cast
from tests.many import fill_sandboxes
from timeline.events import SYSTEM, Kind, NewEvent
from timeline.models import Stretch, WordBlock
from timeline.selectors import events_after, last_seq
from timeline.services import event_append, events_append

NOW = datetime(2030, 3, 31, 15, 0, tzinfo=UTC)


def _run(account: Cast, *, ended: datetime | None, events: int = 3) -> str:
    status = Status.TERMINATED if ended else Status.RUNNING
    row = account.sandbox_row(status=status, ended_at=ended)
    lines = [NewEvent(Kind.FILE_DELETED, {"path": f"/{n}"}, SYSTEM) for n in range(events)]
    events_append(sandbox_id=row.id, events=lines)
    WordBlock.objects.create(sandbox_id=row.id, first=1, last=events, words="deleted")
    Stretch.objects.create(
        sandbox_id=row.id, number=0, commands=0, failed=0, commands_to=0, failed_to=0
    )
    return row.id


def _seqs(sandbox_id: str) -> list[int]:
    return [event.seq for event in events_after(sandbox_id=sandbox_id)]


def test_whole_runs_go_by_the_day_on_which_they_ended(account: Cast, other_account: Cast) -> None:
    Account.objects.filter(id=other_account.account.id).update(timeline_days=3)
    midnight = datetime(2030, 3, 1, tzinfo=UTC)
    old = _run(account, ended=midnight - timedelta(seconds=1))
    kept = _run(account, ended=midnight)
    runs = _run(account, ended=None)
    theirs = _run(other_account, ended=midnight)
    assert forecast(account_id=account.account.id, days=30, now=NOW).runs == 1
    assert retention_apply(now=NOW) >= 2
    assert _seqs(old) == _seqs(theirs) == []
    assert _seqs(kept) == _seqs(runs) == [1, 2, 3]
    assert not WordBlock.objects.filter(sandbox_id=old).exists()
    assert not Stretch.objects.filter(sandbox_id=old).exists()
    assert Sandbox.objects.get(id=old).timeline_removed_at == NOW
    assert Sandbox.objects.get(id=kept).timeline_removed_at is None
    assert retention_apply(now=NOW) == 0
    # Numbers are not used twice: what comes later follows what is gone.
    later = event_append(sandbox_id=old, event=NewEvent(Kind.FILE_DELETED, {"path": "/"}, SYSTEM))
    assert later.seq == 4 == last_seq(sandbox_id=old)
    assert retention_apply(now=NOW + timedelta(days=1)) >= 1, "one more day each day"
    assert _seqs(kept) == []


def test_what_is_pinned_stays_and_so_do_notes(
    account: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("timeline.services._PART", 3)
    one = _run(account, ended=NOW - timedelta(days=60), events=8)
    for seq in (2, 7):
        event_pin(principal=account.principal(), sandbox_id=one, seq=seq)
    note = note_add(principal=account.principal(), sandbox_id=one, text="Look here", about=3)
    retention_apply(now=NOW)
    assert _seqs(one) == [2, 7]
    assert note is not None


def test_a_process_that_was_killed_half_way_is_followed_by_one_that_goes_on(
    account: Cast, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Killed(BaseException):
        pass

    def dies(**_: object) -> None:
        raise Killed

    one = _run(account, ended=NOW - timedelta(days=60))
    with monkeypatch.context() as patched, pytest.raises(Killed):
        patched.setattr("sandboxes.retention.events_remove", dies)
        retention_apply(now=NOW)
    assert _seqs(one) == [1, 2, 3]
    assert retention_apply(now=NOW, seconds=0) == 0, "no time left"
    assert retention_apply(now=NOW) >= 1
    assert _seqs(one) == []


def test_an_owner_changes_it_and_the_record_says_from_what_to_what(account: Cast) -> None:
    retention_set(principal=account.principal(), days=7)
    retention_set(principal=account.principal(), days=7)
    entry = AuditEntry.objects.get(account=account.account, action="account.retention_changed")
    assert (entry.before, entry.after) == ({"timeline_days": 30}, {"timeline_days": 7})
    for days in (0, -1, 3651):
        with pytest.raises(InvalidRequest):
            retention_set(principal=account.principal(), days=days)
    for user in (account.operator, account.viewer):
        with pytest.raises(Forbidden):
            retention_set(principal=account.principal(user), days=3)


def test_what_is_due_is_found_by_an_index_of_runs_that_still_have_a_timeline(
    account: Cast,
) -> None:
    fill_sandboxes(account.account.id, count=1000)
    Sandbox.objects.filter(account=account.account).update(timeline_removed_at=NOW)
    with CaptureQueriesContext(connection) as captured:
        forecast(account_id=account.account.id, days=30, now=NOW)
    (asked,) = captured.captured_queries
    with connection.cursor() as cursor:
        cursor.execute("ANALYZE sandboxes_sandbox")
        cursor.execute(f"EXPLAIN {asked['sql']}")
        assert "sandbox_with_timeline" in str(cursor.fetchall())
