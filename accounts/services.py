"""Everything that writes people, accounts, tokens and the audit record."""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from accounts import tokens
from accounts.announce import CONTROL, announce
from accounts.errors import Invalid, NotFound
from accounts.models import Account, AuditEntry, Membership, Plan, Role, Token, User
from accounts.origin import Origin
from accounts.policy import (
    ROLE_SCOPES,
    TOKEN_SCOPES,
    Forbidden,
    Principal,
    Scope,
    allows,
    require,
)
from accounts.selectors import principal_of_user
from timeline.events import Actor

TOUCH_EVERY = timedelta(minutes=1)
_NOWHERE = Origin()


@dataclass(frozen=True, slots=True)
class Minted:
    """A new token: its row, and its text, which can never be read again."""

    token: Token
    text: str


def user_create(*, email: str, password: str | None = None, name: str = "") -> User:
    """A person who can sign in; without a ``password`` only by other means. Raises ``Invalid``."""
    email = email.strip().lower()
    try:
        validate_email(email)
    except ValidationError:
        raise Invalid("Give a complete e-mail address, such as you@example.org.") from None
    if User.objects.filter(email=email).exists():
        raise Invalid(f"Somebody already signs in with {email}.")
    user = User(email=email, name=name)
    user.set_password(password)
    user.save()
    return user


@transaction.atomic
def account_create(*, name: str, plan: Plan, owner: User) -> Account:
    """An account and its first owner."""
    account = Account.objects.create(name=name, plan=plan)
    member_add(account=account, user=owner, role=Role.OWNER)
    return account


def member_add(*, account: Account, user: User, role: str) -> Membership:
    """Give ``user`` a role in ``account``, or change the one they have."""
    if role not in ROLE_SCOPES:
        raise Invalid(f"A role is one of {', '.join(ROLE_SCOPES)}.")
    membership, _ = Membership.objects.update_or_create(
        account=account, user=user, defaults={"role": role}
    )
    return membership


@transaction.atomic
def token_mint(
    *,
    principal: Principal,
    name: str,
    scopes: Sequence[str],
    expires_in_days: int | None = None,
    allowed_networks: Sequence[str] = (),
    origin: Origin = _NOWHERE,
) -> Minted:
    """A token for ``principal``'s account. Raises ``Invalid`` and ``Forbidden``.

    ``expires_in_days`` None means never; ``allowed_networks`` are CIDR blocks, none means any. A
    token that mints one gives away no more than it has: it lives no longer, and from the same
    networks.
    """
    require(principal, Scope.TOKENS_WRITE)
    parent = _parent(principal)
    name = name.strip()
    if not name or len(name) > 100 or "\x00" in name:
        raise Invalid("Give the token a name of at most 100 characters.")
    fresh = tokens.fresh()
    token = Token.objects.create(
        account_id=principal.account_id,
        created_by_id=parent.created_by_id if parent else principal.user_id,
        name=name,
        lookup=fresh.lookup,
        digest=fresh.digest,
        scopes=token_scopes(principal, scopes),
        allowed_networks=_networks(parent, allowed_networks),
        expires_at=_no_later(parent, _expiry(expires_in_days)),
    )
    audit_record(
        principal=principal,
        action="token.minted",
        target=token.id,
        after={
            "name": name,
            "prefix": token.prefix,
            "scopes": token.scopes,
            "allowed_networks": token.allowed_networks,
            "expires_at": token.expires_at and token.expires_at.isoformat(),
        },
        origin=origin,
    )
    return Minted(token, fresh.text)


@transaction.atomic
def token_revoke(*, principal: Principal, token_id: str, origin: Origin = _NOWHERE) -> Token:
    """Stop a token: its next request is refused, its open streams end within a second.

    Idempotent. A token may revoke itself; a person, and a token that may, those of the same person;
    an owner anyone's of the account.
    Raises ``NotFound`` and ``Forbidden``.
    """
    rows = Token.objects.select_for_update().filter(account_id=principal.account_id)
    token = rows.filter(id=token_id.replace("\x00", "")).first()
    if token is None:
        raise NotFound("There is no such token in this account.")
    _require_revoke(principal, token)
    if token.revoked_at is not None:
        return token
    token.revoked_at = timezone.now()
    token.save(update_fields=["revoked_at"])
    audit_record(
        principal=principal,
        action="token.revoked",
        target=token.id,
        before={"name": token.name, "prefix": token.prefix, "scopes": token.scopes},
        after={"revoked_at": token.revoked_at.isoformat()},
        origin=origin,
    )
    announce(group=CONTROL, message={"type": "token.revoked", "token_id": token.id})
    return token


def token_touch(*, token_id: str, origin: Origin) -> None:
    """Note that a token was used, at most once a minute whichever process asks."""
    now = timezone.now()
    stale = Q(last_used_at__isnull=True) | Q(last_used_at__lt=now - TOUCH_EVERY)
    Token.objects.filter(stale, id=token_id).update(
        last_used_at=now,
        last_used_address=origin.address or None,
        last_used_agent=origin.user_agent,
    )


def audit_record(
    *,
    principal: Principal | None,
    action: str,
    target: str = "",
    actor: Actor | None = None,
    account_id: str | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    origin: Origin = _NOWHERE,
) -> AuditEntry:
    """Add to the audit record. ``actor`` and ``account_id`` are for what no principal does."""
    entry = audit_entry(
        principal=principal,
        action=action,
        target=target,
        actor=actor,
        account_id=account_id,
        before=before,
        after=after,
        origin=origin,
    )
    entry.save(force_insert=True)
    return entry


def account_change(
    *, account: Account, field: str, value: Any, action: str, principal: Principal, origin: Origin
) -> None:
    """Set one field of a locked account, and record it; nothing where it holds that already."""
    before = getattr(account, field)
    if before == value:
        return
    setattr(account, field, value)
    account.save(update_fields=[field])
    audit_record(
        principal=principal,
        action=action,
        target=account.id,
        before={field: before},
        after={field: value},
        origin=origin,
    )


def person_record(user: User, action: str, origin: Origin, **after: object) -> None:
    """What people do to their own sign-in."""
    audit_record(
        principal=principal_of_user(user=user),
        actor=user.actor,
        action=action,
        target=user.email,
        after=after,
        origin=origin,
    )


def audit_entry(
    *,
    principal: Principal | None,
    action: str,
    target: str = "",
    actor: Actor | None = None,
    account_id: str | None = None,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
    origin: Origin = _NOWHERE,
) -> AuditEntry:
    """The same without writing it, for who writes many at once."""
    who = principal.actor if principal else actor or Actor("system")
    return AuditEntry(
        account_id=principal.account_id if principal else account_id,
        actor=who.to_json(),
        action=action,
        target=target.replace("\x00", "")[:254],
        before=dict(before or {}),
        after=dict(after or {}),
        address=origin.address or None,
        user_agent=origin.user_agent,
    )


def _parent(principal: Principal) -> Token | None:
    """The token that asks, when it is no person."""
    if principal.token_id is None:
        return None
    return Token.objects.get(id=principal.token_id, account_id=principal.account_id)


def _networks(parent: Token | None, wanted: Sequence[str]) -> list[str]:
    if parent is not None and parent.allowed_networks:
        return list(parent.allowed_networks)
    return _checked_networks(wanted)


def _no_later(parent: Token | None, expires_at: datetime | None) -> datetime | None:
    if parent is None or parent.expires_at is None:
        return expires_at
    return min(expires_at or parent.expires_at, parent.expires_at)


def token_scopes(principal: Principal, scopes: Sequence[str]) -> list[str]:
    """``scopes``, if ``principal`` may grant them. Raises ``Invalid`` and ``Forbidden``."""
    wanted = [scope for scope in TOKEN_SCOPES if scope in scopes]
    if not wanted or set(scopes) - set(wanted):
        raise Invalid(f"Choose at least one scope of {', '.join(TOKEN_SCOPES)}.")
    missing = [scope for scope in wanted if not allows(principal, scope)]
    if missing:
        raise Forbidden(f"You cannot grant {', '.join(missing)}: you do not have it yourself.")
    return [str(scope) for scope in wanted]


def _checked_networks(networks: Sequence[str]) -> list[str]:
    checked = []
    for text in networks:
        try:
            checked.append(str(ipaddress.ip_network(text.strip())))
        except ValueError:
            raise Invalid(
                f"{text!r} is not a network such as 192.0.2.0/24 or 2001:db8::/32."
            ) from None
    return checked


def _expiry(days: int | None) -> datetime | None:
    if days is None:
        return None
    if not 1 <= days <= 3650:
        raise Invalid("A token expires in 1 to 3650 days, or never.")
    return timezone.now() + timedelta(days=days)


def _require_revoke(principal: Principal, token: Token) -> None:
    if principal.token_id == token.id or allows(principal, Scope.TOKENS_ADMIN):
        return
    require(principal, Scope.TOKENS_WRITE)
    parent = _parent(principal)
    person = parent.created_by_id if parent else principal.user_id
    if token.created_by_id is None or token.created_by_id != person:
        raise Forbidden("Only an owner may revoke a token that somebody else made.")
