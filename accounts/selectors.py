"""Everything that reads people, accounts, tokens and the audit record."""

from __future__ import annotations

from dataclasses import dataclass

from django.db.models import Count, Q, QuerySet, TextChoices
from django.utils import timezone

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


class TokenState(TextChoices):
    """Whether a token can be used, and why not."""

    USABLE = "usable", "Usable"
    EXPIRED = "expired", "Expired"
    REVOKED = "revoked", "Revoked"


@dataclass(frozen=True, slots=True)
class TokenPage:
    """One page of an account's tokens, how many match in all, and where the next page begins."""

    rows: list[Token]
    total: int
    next_before: str | None


def tokens_of(account_id: str, *, state: str = "", text: str = "") -> QuerySet[Token]:
    """An account's tokens, newest first. ``text`` is in the name, or begins the token."""
    rows = Token.objects.filter(account_id=account_id).order_by("-id")
    if state == TokenState.REVOKED:
        rows = rows.exclude(revoked_at=None)
    elif state:
        is_over = Q(expires_at__lte=timezone.now())
        rows = rows.filter(is_over if state == TokenState.EXPIRED else ~is_over, revoked_at=None)
    if text:
        lookup = text.removeprefix("ork_")[:8]
        rows = rows.filter(Q(name__icontains=text) | Q(lookup__startswith=lookup))
    return rows


def tokens_page(
    *,
    account_id: str,
    state: str = "",
    text: str = "",
    before: str = "",
    limit: int,
    count_to: int,
) -> TokenPage:
    """Each with ``sandboxes_made``, its uses and who made it; a new token shifts no page.

    No more are counted than one beyond ``count_to``: ``total`` may be that.
    """
    found = tokens_of(account_id, state=state, text=text)
    total = found.order_by()[: count_to + 1].count()
    if before:
        found = found.filter(id__lt=before)
    ids = list(found.values_list("id", flat=True)[: limit + 1])
    # Sandboxes are counted for the rows of the page, and not for all that it is cut from.
    rows = (
        Token.objects.filter(id__in=ids[:limit])
        .select_related("created_by")
        .prefetch_related("scope_uses")
        .annotate(sandboxes_made=Count("sandboxes"))
        .order_by("-id")
    )
    return TokenPage(list(rows), total, ids[limit - 1] if len(ids) > limit else None)


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
