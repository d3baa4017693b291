"""Many at once: what is done, what is refused and why. Real sandboxes are the page's test."""

from __future__ import annotations

import pytest

from accounts.policy import Forbidden
from sandboxes.bulk import MOST, PAUSE, TERMINATE, bulk_outlook
from sandboxes.errors import InvalidRequest
from sandboxes.models import Status
from tests.cast import Cast


def test_each_that_cannot_be_paused_says_why(account: Cast, other_account: Cast) -> None:
    runs, paused, ended = (
        account.sandbox_row(status=status)
        for status in (Status.RUNNING, Status.PAUSED, Status.TERMINATED)
    )
    starts = account.sandbox_row(status=Status.STARTING)
    theirs = other_account.sandbox_row(status=Status.RUNNING)
    ids = [runs.id, paused.id, ended.id, starts.id, theirs.id, "nonsense", runs.id]
    report = bulk_outlook(principal=account.principal(), ids=ids, act=PAUSE)
    assert report.done == [runs]
    assert [(one.sandbox_id, one.why) for one in report.refused] == [
        (paused.id, "It is paused already."),
        (ended.id, "It has ended already."),
        (starts.id, "It is starting; pause it when it runs."),
        (theirs.id, f"There is no sandbox {theirs.id} in this account."),
        ("nonsense", "There is no sandbox nonsense in this account."),
    ]
    assert report.all == 6
    ending = bulk_outlook(principal=account.principal(), ids=ids, act=TERMINATE)
    assert ending.done == [runs, paused, starts]


def test_nothing_is_done_for_who_may_not_or_asks_for_nothing(account: Cast) -> None:
    run = account.sandbox_row(status=Status.RUNNING)
    viewer, owner = account.principal(account.viewer), account.principal()
    with pytest.raises(Forbidden):
        bulk_outlook(principal=viewer, ids=[run.id], act=TERMINATE)
    for ids, act in (([], PAUSE), ([run.id], "resume"), ([str(n) for n in range(MOST + 1)], PAUSE)):
        with pytest.raises(InvalidRequest):
            bulk_outlook(principal=owner, ids=ids, act=act)
