"""The one permission check: grant and role both have to cover it."""

from __future__ import annotations

import pytest

from accounts.policy import ROLE_SCOPES, Forbidden, Principal, Scope, allows, require
from timeline.events import Actor


def principal(*, scopes: set[str], role: str, token_id: str | None = None) -> Principal:
    return Principal("acc_1", Actor("token"), frozenset(scopes), role, token_id=token_id)


@pytest.mark.parametrize("role", ROLE_SCOPES)
@pytest.mark.parametrize("scope", Scope)
def test_a_role_allows_what_it_lists_and_nothing_else(role: str, scope: Scope) -> None:
    everything = principal(scopes={str(one) for one in Scope}, role=role)
    assert allows(everything, scope) is (scope in ROLE_SCOPES[role])


@pytest.mark.parametrize("scope", Scope)
def test_a_role_without_the_grant_allows_nothing(scope: Scope) -> None:
    assert not allows(principal(scopes=set(), role="owner"), scope)


def test_an_unknown_role_allows_nothing() -> None:
    assert not allows(principal(scopes={"sandboxes:read"}, role="emperor"), "sandboxes:read")


def test_each_role_allows_all_that_the_lesser_one_does() -> None:
    assert ROLE_SCOPES["viewer"] < ROLE_SCOPES["operator"] < ROLE_SCOPES["owner"]


def test_a_viewer_only_reads() -> None:
    assert all(scope.endswith(":read") for scope in ROLE_SCOPES["viewer"])


def test_a_token_is_told_which_scope_it_lacks() -> None:
    reader = principal(scopes={"sandboxes:read"}, role="operator", token_id="tok_1")
    require(reader, "sandboxes:read")
    with pytest.raises(Forbidden, match="sandboxes:write"):
        require(reader, "sandboxes:write")


def test_a_person_is_told_their_role() -> None:
    viewer = principal(scopes={"sandboxes:read"}, role="viewer")
    with pytest.raises(Forbidden, match="viewer"):
        require(viewer, "sandboxes:write")
