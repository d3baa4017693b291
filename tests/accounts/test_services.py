"""People, accounts and tokens, against a real database."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.utils import timezone

from accounts.audit import AuditFilter, audit_page
from accounts.errors import Invalid, NotFound
from accounts.models import AuditEntry, Token, User
from accounts.origin import Origin
from accounts.policy import Forbidden
from accounts.selectors import (
    principal_of_token,
    principal_of_user,
    size_menu,
    tokens_of,
)
from accounts.services import token_mint, token_revoke, token_touch, user_create
from accounts.tokens import parse
from tests.cast import PASSWORD, Cast

pytestmark = pytest.mark.django_db

HERE = Origin("203.0.113.9", "tests/1")


def test_a_person_signs_in_with_an_address_in_any_case(account: Cast) -> None:
    user = User.objects.get_by_natural_key(f" {account.owner.email.upper()} ")
    assert user.check_password(PASSWORD)
    assert user.password.startswith("argon2")


def test_the_same_address_cannot_be_taken_twice(account: Cast) -> None:
    with pytest.raises(Invalid, match=account.owner.email):
        user_create(email=account.owner.email.upper())


@pytest.mark.parametrize("email", ["", "alice", "a@b@c", "a b@example.org", "\x00@example.org"])
def test_an_address_that_is_none_is_refused(email: str) -> None:
    with pytest.raises(Invalid, match="e-mail"):
        user_create(email=email)


def test_a_person_acts_for_an_account_they_are_in_and_no_other(
    account: Cast, other_account: Cast
) -> None:
    alice = account.owner
    assert principal_of_user(user=alice, account_id=other_account.account.id) is None
    mine = principal_of_user(user=alice, account_id=account.account.id)
    assert mine is not None
    assert (mine.account_id, mine.role) == (account.account.id, "owner")


def test_somebody_who_was_shut_out_acts_for_nobody(account: Cast) -> None:
    alice = account.owner
    alice.is_active = False
    alice.save()
    assert principal_of_user(user=alice) is None


def test_a_token_is_kept_as_a_digest_only(account: Cast) -> None:
    minted = token_mint(
        principal=account.principal(account.operator), name=" ci ", scopes=["sandboxes:read"]
    )
    row = Token.objects.get(id=minted.token.id)
    parsed = parse(minted.text)
    assert parsed is not None
    assert (row.name, row.lookup, row.digest) == ("ci", parsed.lookup, parsed.digest)
    kept = " ".join(str(value) for value in Token.objects.filter(id=row.id).values().get().values())
    assert minted.text[12:44] not in kept


def test_a_token_acts_within_its_scopes(account: Cast) -> None:
    minted = token_mint(
        principal=account.principal(account.operator), name="ci", scopes=["sandboxes:read"]
    )
    who = principal_of_token(minted.token)
    assert who.scopes == {"sandboxes:read"}
    assert (who.account_id, who.actor.prefix) == (account.account.id, minted.text[:12])


def test_a_viewer_mints_nothing(account: Cast) -> None:
    with pytest.raises(Forbidden):
        token_mint(
            principal=account.principal(account.viewer), name="ci", scopes=["sandboxes:read"]
        )
    assert not Token.objects.exists()


@pytest.mark.parametrize("scopes", [[], ["sandboxes"], ["sandboxes:read", "tokens:admin"], ["*"]])
def test_only_scopes_that_tokens_have_can_be_granted(account: Cast, scopes: list[str]) -> None:
    with pytest.raises(Invalid, match="scope"):
        token_mint(principal=account.principal(), name="ci", scopes=scopes)


@pytest.mark.parametrize("name", ["", "   ", "x" * 101, "a\x00b"])
def test_a_token_needs_a_sensible_name(account: Cast, name: str) -> None:
    with pytest.raises(Invalid, match="name"):
        token_mint(principal=account.principal(), name=name, scopes=["sandboxes:read"])


@pytest.mark.parametrize("network", ["banana", "192.0.2.1/24", "192.0.2.0/33", ""])
def test_a_network_that_is_none_is_refused(account: Cast, network: str) -> None:
    with pytest.raises(Invalid, match="network"):
        token_mint(
            principal=account.principal(),
            name="ci",
            scopes=["sandboxes:read"],
            allowed_networks=[network],
        )


def test_it_expires_when_it_was_asked_to(account: Cast) -> None:
    minted = token_mint(
        principal=account.principal(), name="ci", scopes=["sandboxes:read"], expires_in_days=30
    )
    assert minted.token.expires_at is not None
    left = minted.token.expires_at - timezone.now()
    assert timedelta(days=29, hours=23) < left <= timedelta(days=30)


@pytest.mark.parametrize("days", [0, -1, 3651])
def test_a_lifetime_without_sense_is_refused(account: Cast, days: int) -> None:
    with pytest.raises(Invalid, match="days"):
        token_mint(
            principal=account.principal(),
            name="ci",
            scopes=["sandboxes:read"],
            expires_in_days=days,
        )


def test_minting_and_revoking_are_on_record(account: Cast) -> None:
    minted = token_mint(
        principal=account.principal(), name="ci", scopes=["sandboxes:write"], origin=HERE
    )
    token_revoke(principal=account.principal(), token_id=minted.token.id, origin=HERE)
    revoked, made = audit_page(account_id=account.account.id, narrowed=AuditFilter()).entries
    assert [made.action, revoked.action] == ["token.minted", "token.revoked"]
    assert made.actor["name"] == account.owner.name
    assert made.after["scopes"] == ["sandboxes:write"]
    assert (made.address, made.user_agent) == (HERE.address, HERE.user_agent)
    assert minted.text[12:] not in str(list(AuditEntry.objects.values()))


def test_revoking_twice_is_fine_and_recorded_once(account: Cast) -> None:
    minted = token_mint(principal=account.principal(), name="ci", scopes=["sandboxes:read"])
    first = token_revoke(principal=account.principal(), token_id=minted.token.id)
    again = token_revoke(principal=account.principal(), token_id=minted.token.id)
    assert first.revoked_at == again.revoked_at
    assert AuditEntry.objects.filter(account=account.account, action="token.revoked").count() == 1


def test_an_operator_revokes_their_own_and_an_owner_anyones(account: Cast) -> None:
    own = token_mint(
        principal=account.principal(account.operator), name="mine", scopes=["sandboxes:read"]
    ).token
    owners = token_mint(principal=account.principal(), name="hers", scopes=["sandboxes:read"]).token
    with pytest.raises(Forbidden, match="owner"):
        token_revoke(principal=account.principal(account.operator), token_id=owners.id)
    with pytest.raises(Forbidden):
        token_revoke(principal=account.principal(account.viewer), token_id=own.id)
    token_revoke(principal=account.principal(), token_id=own.id)


def test_a_token_revokes_itself(account: Cast) -> None:
    token = token_mint(
        principal=account.principal(account.operator), name="ci", scopes=["sandboxes:read"]
    ).token
    assert token_revoke(principal=principal_of_token(token), token_id=token.id).revoked_at


def test_a_foreign_token_is_not_found(account: Cast, other_account: Cast) -> None:
    token = token_mint(principal=account.principal(), name="ci", scopes=["sandboxes:read"]).token
    with pytest.raises(NotFound):
        token_revoke(principal=other_account.principal(), token_id=token.id)


def test_use_is_noted_at_most_once_a_minute(account: Cast) -> None:
    token = token_mint(principal=account.principal(), name="ci", scopes=["sandboxes:read"]).token
    token_touch(token_id=token.id, origin=HERE)
    token_touch(token_id=token.id, origin=Origin("198.51.100.1", "later"))
    token.refresh_from_db()
    assert (token.last_used_address, token.last_used_agent) == (HERE.address, HERE.user_agent)
    Token.objects.filter(id=token.id).update(last_used_at=timezone.now() - timedelta(minutes=2))
    token_touch(token_id=token.id, origin=Origin("198.51.100.1", "later"))
    token.refresh_from_db()
    assert token.last_used_address == "198.51.100.1"


def test_an_account_lists_its_own_tokens_newest_first(account: Cast, other_account: Cast) -> None:
    first = token_mint(principal=account.principal(), name="first", scopes=["sandboxes:read"]).token
    second = token_mint(
        principal=account.principal(account.operator), name="second", scopes=["sandboxes:read"]
    ).token
    token_mint(principal=other_account.principal(), name="foreign", scopes=["sandboxes:read"])
    assert list(tokens_of(account.account.id)) == [second, first]


def test_the_menu_goes_from_small_to_large(account: Cast) -> None:
    assert [size.name for size in size_menu()] == ["small", "medium", "large"]
