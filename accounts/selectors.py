"""Everything that reads people, accounts, tokens and the audit record."""

from __future__ import annotations

from django.db.models import Count, QuerySet

from accounts.errors import NotFound
from accounts.models import Account, Membership, Size, Token, User
from accounts.policy import ROLE_SCOPES, TOKEN_ROLE, Principal
from timeline.events import Actor


def principal_of_user(*, user: User, account_id: str | None = None) -> Principal | None:
    """``user`` in that account, or else in their oldest; None when not a member."""
    memberships = Membership.objects.filter(user=user).order_by("created_at", "id")
    if account_id is not None:
        memberships = memberships.filter(account_id=account_id)
    membership = memberships.first()
    if membership is None or not user.is_active:
        return None
    return Principal(
        account_id=membership.account_id,
        actor=user.actor,
        scopes=frozenset(ROLE_SCOPES.get(membership.role, frozenset())),
        role=membership.role,
        user_id=user.pk,
    )


def principal_of_token(token: Token) -> Principal:
    """A token that has been verified, as who it acts for."""
    return Principal(
        account_id=token.account_id,
        actor=Actor("token", id=token.id, name=token.name, prefix=token.prefix),
        scopes=frozenset(token.scopes),
        role=TOKEN_ROLE,
        token_id=token.id,
    )


def accounts_of(user: User) -> QuerySet[Account]:
    """The accounts that ``user`` is a member of, oldest first."""
    return Account.objects.filter(memberships__user=user).order_by("created_at")


def account_of(account_id: str) -> Account:
    """An account with its plan."""
    return Account.objects.select_related("plan").get(id=account_id)


def account_locked(account_id: str) -> Account:
    """An account with its plan, for nobody else to lock until the transaction ends.

    Without its key (``FOR NO KEY UPDATE``), so that rows which refer to it are made meanwhile.
    """
    rows = Account.objects.select_for_update(of=("self",), no_key=True).select_related("plan")
    return rows.get(id=account_id)


def tokens_of(account_id: str) -> QuerySet[Token]:
    """An account's tokens, newest first, each with ``sandboxes_made`` and who made it."""
    return (
        Token.objects.filter(account_id=account_id)
        .select_related("created_by")
        .prefetch_related("scope_uses")
        .annotate(sandboxes_made=Count("sandboxes"))
        .order_by("-created_at", "-id")
    )


def token_of(*, account_id: str, token_id: str) -> Token:
    """One token, live or revoked, with who made it and its uses. Raises ``NotFound``."""
    rows = Token.objects.select_related("created_by").prefetch_related("scope_uses")
    found = rows.filter(id=token_id.replace("\x00", ""), account_id=account_id).first()
    if found is None:
        raise NotFound("There is no such token in this account.")
    return found


def token_names(account_id: str, *, most: int = 200) -> list[tuple[str, str]]:
    """The newest tokens of an account, revoked ones too: id and name."""
    rows = Token.objects.filter(account_id=account_id).order_by("-created_at", "-id")
    return list(rows.values_list("id", "name")[:most])


def size_menu() -> list[Size]:
    """Every size, smallest first."""
    return list(Size.objects.all())
