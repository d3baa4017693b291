"""What turns an empty database into an installation somebody can use."""

from __future__ import annotations

import secrets

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts.catalogue import catalogue_install
from accounts.models import Account, Plan, Token, User
from accounts.policy import USUAL_SCOPES
from accounts.selectors import accounts_of, principal_of_user
from accounts.services import account_create, token_mint, user_create


@transaction.atomic
def account_bootstrap(
    *,
    email: str,
    password: str | None,
    token_name: str,
    token_lost: bool = False,
    account_name: str = "First account",
) -> dict[str, str]:
    """Plans, sizes, one person, their account on the largest plan, and one token.

    Idempotent: gives only what it made now, of ``email``, ``password`` and ``token``. An account's
    token is made again only when no live one of that name is left, or when the one there is
    ``token_lost``, nobody knowing its text: then under the same name with the moment behind it.
    """
    catalogue_install()
    made: dict[str, str] = {}
    user = User.objects.filter(email=email.strip().lower()).first()
    if user is None:
        password = password or secrets.token_urlsafe(12)
        user = user_create(email=email, password=password, name=email.partition("@")[0])
        user.is_staff = True  # whoever installs it looks after its plans and prices too
        user.save(update_fields=["is_staff"])
        made |= {"email": user.email, "password": password}
    account = accounts_of(user).first()
    if account is None:
        plan = Plan.objects.get(name="enterprise")
        account = account_create(name=account_name, plan=plan, owner=user)
    has_token = _has_token(account, token_name)
    if token_lost or not has_token:
        name = f"{token_name}, {timezone.now():%Y-%m-%d %H:%M:%S}" if has_token else token_name
        made["token"] = _first_token(user, account, name)
    return made


def _has_token(account: Account, name: str) -> bool:
    named = Q(name=name) | Q(name__startswith=f"{name}, ")
    return Token.objects.filter(named, account=account, revoked_at__isnull=True).exists()


def _first_token(user: User, account: Account, name: str) -> str:
    principal = principal_of_user(user=user, account_id=account.id)
    if principal is None:
        raise RuntimeError(f"{user.email} is not an active member of {account.id}")
    return token_mint(principal=principal, name=name, scopes=USUAL_SCOPES).text
