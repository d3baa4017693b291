"""Who is in an account, as what, and how somebody gets in: by an invitation."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.announce import CONTROL, announce
from accounts.attempts import INVITE_OF_ACCOUNT, attempts_count
from accounts.errors import Invalid, NotFound
from accounts.models import Invitation, Membership, Role, Token, User
from accounts.origin import Origin
from accounts.passwords import password_check
from accounts.policy import Forbidden, Principal, Scope, allows, require
from accounts.selectors import account_locked
from accounts.services import audit_record, member_add, token_revoke, user_create
from accounts.tokens import keyed_digest

INVITATION_DAYS: Final = 7
_NOWHERE: Final = Origin()


@dataclass(frozen=True, slots=True)
class Invited:
    """An invitation, and the secret end of its link, which can never be read again."""

    invitation: Invitation
    text: str


def members_of(account_id: str) -> QuerySet[Membership]:
    """Owners first, then by when they came."""
    rows = Membership.objects.filter(account_id=account_id).select_related("user")
    return rows.order_by("created_at", "id")


def invitations_of(account_id: str) -> QuerySet[Invitation]:
    """Those that can still be accepted, newest first."""
    rows = _open().filter(account_id=account_id).select_related("invited_by")
    return rows.order_by("-created_at", "-id")


def _open() -> QuerySet[Invitation]:
    now = timezone.now()
    return Invitation.objects.filter(accepted_at=None, revoked_at=None, expires_at__gt=now)


def invitation_of(text: str) -> Invitation | None:
    """The one that ``text`` opens, if it still can be accepted."""
    return _open().select_related("account", "invited_by").filter(digest=_digest(text)).first()


def _digest(text: str) -> str:
    return keyed_digest(f"invitation {text}")


@transaction.atomic
def invitation_create(
    *, principal: Principal, email: str, role: str, origin: Origin = _NOWHERE
) -> Invited:
    """Good for a week, once. Another for the same address ends the one before.

    Raises ``Invalid``, ``Forbidden`` and ``TooManyAttempts``.
    """
    require(principal, Scope.MEMBERS_WRITE)
    email = _checked_email(email)
    _checked_role(role)
    if Membership.objects.filter(account_id=principal.account_id, user__email=email).exists():
        raise Invalid(f"{email} is a member already.")
    attempts_count((INVITE_OF_ACCOUNT, principal.account_id))
    now = timezone.now()
    _open().filter(account_id=principal.account_id, email=email).update(revoked_at=now)
    text = secrets.token_urlsafe(32)
    invitation = Invitation.objects.create(
        account_id=principal.account_id,
        email=email,
        role=role,
        digest=_digest(text),
        invited_by_id=principal.user_id,
        expires_at=now + timedelta(days=INVITATION_DAYS),
    )
    audit_record(
        principal=principal,
        action="member.invited",
        target=email,
        after={"role": role, "expires_at": invitation.expires_at.isoformat()},
        origin=origin,
    )
    return Invited(invitation, text)


def _checked_email(email: str) -> str:
    email = email.strip().lower()
    try:
        validate_email(email)
    except ValidationError:
        raise Invalid("Give a complete e-mail address, such as you@example.org.") from None
    return email


def _checked_role(role: str) -> None:
    if role not in Role.values:
        raise Invalid(f"A role is one of {', '.join(Role.values)}.")


@transaction.atomic
def invitation_revoke(
    *, principal: Principal, invitation_id: int, origin: Origin = _NOWHERE
) -> Invitation:
    """Its link opens nothing any more. Raises ``NotFound`` and ``Forbidden``."""
    require(principal, Scope.MEMBERS_WRITE)
    rows = _open().select_for_update().filter(account_id=principal.account_id)
    invitation = rows.filter(id=invitation_id).first()
    if invitation is None:
        raise NotFound("There is no such invitation in this account.")
    invitation.revoked_at = timezone.now()
    invitation.save(update_fields=["revoked_at"])
    audit_record(
        principal=principal,
        action="member.invitation_revoked",
        target=invitation.email,
        before={"role": invitation.role},
        origin=origin,
    )
    return invitation


@transaction.atomic
def invitation_accept(*, text: str, user: User, origin: Origin = _NOWHERE) -> Membership:
    """``user`` takes the seat that is held for their address. Raises ``Invalid``."""
    found = Invitation.objects.select_for_update().filter(digest=_digest(text)).first()
    invitation = found and _open().filter(id=found.id).first()
    if invitation is None:
        raise Invalid("This invitation was used or withdrawn, or has expired. Ask for another.")
    if invitation.email != user.email:
        raise Invalid(f"This invitation is for {invitation.email}. Sign in with that address.")
    already = Membership.objects.filter(account_id=invitation.account_id, user=user).first()
    membership = already or member_add(account=invitation.account, user=user, role=invitation.role)
    invitation.accepted_at = timezone.now()
    invitation.save(update_fields=["accepted_at"])
    audit_record(
        principal=None,
        actor=user.actor,
        account_id=invitation.account_id,
        action="member.joined",
        target=user.email,
        after={"role": membership.role},
        origin=origin,
    )
    return membership


@transaction.atomic
def invitation_accept_new(
    *, text: str, name: str, password: str, origin: Origin = _NOWHERE
) -> User:
    """Somebody who has not signed in here before. Raises ``Invalid``."""
    invitation = invitation_of(text)
    if invitation is None:
        raise Invalid("This invitation was used or withdrawn, or has expired. Ask for another.")
    name = " ".join(name.split())
    if not name or len(name) > 100 or not name.isprintable():
        raise Invalid("Say in at most 100 characters what others should call you.")
    password_check(password, user=User(email=invitation.email, name=name))
    user = user_create(email=invitation.email, password=password, name=name)
    invitation_accept(text=text, user=user, origin=origin)
    return user


@transaction.atomic
def member_change_role(
    *, principal: Principal, user_id: int, role: str, origin: Origin = _NOWHERE
) -> Membership:
    """At once, also where they are connected. Raises ``NotFound`` and ``Invalid``."""
    require(principal, Scope.MEMBERS_WRITE)
    _checked_role(role)
    membership = _locked(principal, user_id)
    was = membership.role
    if was == role:
        return membership
    if was == Role.OWNER:
        _keep_an_owner(membership)
    membership.role = role
    membership.save(update_fields=["role"])
    audit_record(
        principal=principal,
        action="member.role_changed",
        target=membership.user.email,
        before={"role": was},
        after={"role": role},
        origin=origin,
    )
    _announce(membership)
    return membership


@transaction.atomic
def member_remove(
    *, principal: Principal, user_id: int, revoke_tokens: bool = False, origin: Origin = _NOWHERE
) -> Membership:
    """Out at once, with the tokens they made if wanted. Anybody may leave by themselves.

    Raises ``NotFound``, ``Forbidden`` and ``Invalid`` for the last owner.
    """
    leaves = principal.user_id is not None and principal.user_id == user_id
    if not leaves:
        require(principal, Scope.MEMBERS_WRITE)
    membership = _locked(principal, user_id)
    if membership.role == Role.OWNER:
        _keep_an_owner(membership)
    revoke_tokens = revoke_tokens and allows(principal, Scope.TOKENS_WRITE)
    tokens = tokens_made_by(principal.account_id, user_id) if revoke_tokens else []
    for token in tokens:
        token_revoke(principal=principal, token_id=token.id, origin=origin)
    audit_record(
        principal=principal,
        action="member.left" if leaves else "member.removed",
        target=membership.user.email,
        before={"role": membership.role},
        after={"tokens_revoked": len(tokens)} if tokens else None,
        origin=origin,
    )
    _announce(membership)
    membership.delete()
    return membership


def tokens_made_by(account_id: str, user_id: int) -> list[Token]:
    """Those that can still be used."""
    rows = Token.objects.filter(account_id=account_id, created_by_id=user_id, revoked_at=None)
    return list(rows.order_by("-created_at"))


def _locked(principal: Principal, user_id: int) -> Membership:
    """Under the account's lock, so that two owners cannot remove each other."""
    if principal.user_id is None:
        raise Forbidden("People manage members, in the console.")
    account_locked(principal.account_id)
    rows = Membership.objects.select_related("user").filter(account_id=principal.account_id)
    membership = rows.filter(user_id=user_id).first()
    if membership is None:
        raise NotFound("There is no such member of this account.")
    return membership


def _keep_an_owner(membership: Membership) -> None:
    owners = Membership.objects.filter(account_id=membership.account_id, role=Role.OWNER)
    if not owners.exclude(id=membership.id).filter(user__is_active=True).exists():
        raise Invalid("An account needs an owner. Make somebody else one first.")


def _announce(membership: Membership) -> None:
    message = {
        "type": "member.changed",
        "account_id": membership.account_id,
        "user_id": membership.user_id,
    }
    announce(group=CONTROL, message=message)
