"""Saved views: whose they are, who sees them, who may delete them."""

from __future__ import annotations

import pytest

from accounts.models import AuditEntry
from accounts.policy import Forbidden
from sandboxes.errors import InvalidRequest
from sandboxes.saved_views import (
    MOST,
    SavedViewNotFound,
    saved_view_create,
    saved_view_delete,
    saved_view_rename,
    saved_views_of,
)
from tests.cast import Cast


def test_own_views_are_ones_own_and_shared_ones_everybodys(
    account: Cast, other_account: Cast
) -> None:
    owner, viewer = account.principal(), account.principal(account.viewer)
    own = saved_view_create(principal=viewer, name="  Mine ", query="status=live")
    shared = saved_view_create(principal=owner, name="Ours", query="status=failed", shared=True)
    assert own.name == "Mine"
    assert [view.name for view in saved_views_of(viewer)] == ["Mine", "Ours"]
    assert [view.name for view in saved_views_of(owner)] == ["Ours"]
    assert not saved_views_of(other_account.principal()).exists()

    with pytest.raises(SavedViewNotFound):
        saved_view_delete(principal=owner, view_id=own.pk)
    with pytest.raises(Forbidden):
        saved_view_delete(principal=viewer, view_id=shared.pk)
    with pytest.raises(SavedViewNotFound):
        saved_view_delete(principal=other_account.principal(), view_id=shared.pk)
    saved_view_delete(principal=viewer, view_id=own.pk)
    saved_view_delete(principal=account.principal(account.operator), view_id=shared.pk)
    assert not saved_views_of(viewer).exists()
    told = AuditEntry.objects.filter(account=account.account, action__startswith="sandbox.view")
    assert [entry.action for entry in told.order_by("id")] == [
        "sandbox.view_saved",
        "sandbox.view_deleted",
    ]


def test_a_view_is_renamed_by_whoever_may_delete_it(account: Cast, other_account: Cast) -> None:
    owner, viewer = account.principal(), account.principal(account.viewer)
    own = saved_view_create(principal=viewer, name="Mine", query="status=live")
    shared = saved_view_create(principal=owner, name="Ours", query="status=failed", shared=True)
    saved_view_create(principal=owner, name="Others", query="status=live", shared=True)
    assert saved_view_rename(principal=viewer, view_id=own.pk, name=" My  own ").name == "My own"
    saved_view_rename(principal=owner, view_id=shared.pk, name="Failed")
    assert [view.name for view in saved_views_of(viewer)] == ["Failed", "My own", "Others"]
    for who, view, error in (
        (owner, own, SavedViewNotFound),
        (other_account.principal(), shared, SavedViewNotFound),
        (viewer, shared, Forbidden),
    ):
        with pytest.raises(error):
            saved_view_rename(principal=who, view_id=view.pk, name="Taken away")
    with pytest.raises(InvalidRequest, match="called Others already"):
        saved_view_rename(principal=owner, view_id=shared.pk, name="Others")
    with pytest.raises(InvalidRequest, match="a name of up to"):
        saved_view_rename(principal=viewer, view_id=own.pk, name="x" * 61)
    told = AuditEntry.objects.get(account=account.account, action="sandbox.view_renamed")
    assert (told.before["name"], told.after["name"], told.target) == ("Ours", "Failed", "Failed")


def test_what_cannot_be_saved_says_why(account: Cast) -> None:
    owner, viewer = account.principal(), account.principal(account.viewer)
    saved_view_create(principal=owner, name="Live", query="status=live", shared=True)
    saved_view_create(principal=owner, name="Live", query="status=live")
    with pytest.raises(InvalidRequest, match="called Live already"):
        saved_view_create(principal=owner, name="Live", query="status=failed", shared=True)
    with pytest.raises(InvalidRequest, match="called Live already"):
        saved_view_create(principal=owner, name="Live", query="status=failed")
    with pytest.raises(InvalidRequest, match="a name of up to"):
        saved_view_create(principal=owner, name=" ", query="status=failed")
    with pytest.raises(InvalidRequest, match="Narrow the list first"):
        saved_view_create(principal=owner, name="All", query="")
    with pytest.raises(Forbidden):
        saved_view_create(principal=viewer, name="Ours", query="status=live", shared=True)
    for number in range(MOST):
        saved_view_create(principal=viewer, name=f"View {number}", query="status=live")
    with pytest.raises(InvalidRequest, match="delete one first"):
        saved_view_create(principal=viewer, name="One more", query="status=live")
