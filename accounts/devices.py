"""Signing in a command line: it asks, shows a code, and collects a token once a person agreed."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from django.db import transaction
from django.db.models import QuerySet
from django.utils import timezone

from accounts.crowds import most_crowded
from accounts.errors import Invalid
from accounts.models import DeviceLogin
from accounts.origin import Origin
from accounts.policy import Forbidden, Principal, Scope, require
from accounts.selectors import principal_of_user
from accounts.services import Minted, audit_record, token_mint, token_scopes
from accounts.tokens import keyed_digest

LIFETIME: Final = timedelta(minutes=10)
INTERVAL_SECONDS: Final = 2
REQUESTS: Final = 20
"""Of one network in ``LIFETIME``."""
WAITING: Final = 5000
"""Of all networks together. One more takes the place of another, as ``accounts.crowds`` chooses."""
_KEPT: Final = timedelta(hours=1)
# Without vowels no word comes about, and none of these is taken for another.
_LETTERS: Final = "BCDFGHJKLMNPQRSTVWXZ"
_NAME: Final = 100


class TooMany(Exception):  # noqa: N818 - reads as what it says
    """So many of one network ask to be signed in that its next ones have to wait."""


class NotYet(Exception):  # noqa: N818 - reads as what it says
    """No token, and ``error`` is the word of RFC 8628 for why: try again, or give up."""

    def __init__(self, error: str, message: str) -> None:
        super().__init__(message)
        self.error = error


@dataclass(frozen=True, slots=True)
class Started:
    """A request, and the code that its program collects the token with. It is kept nowhere."""

    login: DeviceLogin
    device_code: str


@transaction.atomic
def device_start(*, client_name: str, origin: Origin) -> Started:
    """A request that a person may answer for ten minutes. Raises ``Invalid`` and ``TooMany``."""
    name = " ".join(client_name.split())
    if not name or len(name) > _NAME or not name.isprintable():
        raise Invalid(f"client_name says in at most {_NAME} characters what asks.")
    now = timezone.now()
    DeviceLogin.objects.filter(expires_at__lt=now - _KEPT).delete()
    recent = DeviceLogin.objects.filter(created_at__gt=now - LIFETIME)
    where = {"address__within": origin.network} if origin.address else {"address": None}
    if recent.filter(**where).count() >= REQUESTS:
        raise TooMany("Too many logins were begun; finish one of them, or wait ten minutes.")
    device_code = secrets.token_urlsafe(32)
    login = DeviceLogin.objects.create(
        digest=keyed_digest(device_code),
        user_code="".join(secrets.choice(_LETTERS) for _ in range(8)),
        client_name=name,
        address=origin.address or None,
        user_agent=origin.user_agent,
        expires_at=now + LIFETIME,
    )
    _make_room(now)
    return Started(login, device_code)


def _waiting(now: datetime) -> QuerySet[DeviceLogin]:
    return DeviceLogin.objects.filter(answered_at=None, expires_at__gt=now)


def _make_room(now: datetime) -> None:
    """Nobody is refused for what strangers began: theirs go, as they are the crowd."""
    waiting = _waiting(now)
    over = waiting.count() - WAITING
    if over > 0:
        # By their ids, and only while nobody has answered them.
        ids = list(most_crowded(waiting).values_list("id", flat=True)[:over])
        DeviceLogin.objects.filter(id__in=ids, answered_at=None).delete()


def device_of_code(text: str) -> DeviceLogin | None:
    """The request that waits for an answer under that code, however it was typed."""
    code = "".join(letter for letter in text.upper() if letter in _LETTERS)
    return _waiting(timezone.now()).filter(user_code=code).first()


@transaction.atomic
def device_approve(
    *,
    principal: Principal,
    device_id: str,
    name: str,
    scopes: Sequence[str],
    expires_in_days: int | None,
    origin: Origin,
) -> DeviceLogin:
    """Let it collect a token like this one. Raises ``Forbidden`` and ``Invalid``."""
    login = _answered(principal, device_id)
    login.approved = True
    login.token_name = name.strip()[:_NAME]
    login.scopes = token_scopes(principal, scopes)
    login.expires_in_days = expires_in_days
    login.save()
    after = {"client": login.client_name, "address": login.address, "scopes": login.scopes}
    audit_record(
        principal=principal, action="device.approved", target=login.id, after=after, origin=origin
    )
    return login


@transaction.atomic
def device_refuse(*, principal: Principal, device_id: str, origin: Origin) -> DeviceLogin:
    """Nothing is collected. Raises ``Forbidden`` and ``Invalid``."""
    login = _answered(principal, device_id)
    login.save()
    after = {"client": login.client_name, "address": login.address}
    audit_record(
        principal=principal, action="device.refused", target=login.id, after=after, origin=origin
    )
    return login


def _answered(principal: Principal, device_id: str) -> DeviceLogin:
    require(principal, Scope.TOKENS_WRITE)
    if principal.user_id is None:
        raise Forbidden("A person answers this, in the console.")
    now = timezone.now()
    login = DeviceLogin.objects.select_for_update().filter(id=device_id).first()
    if login is None or login.answered_at is not None or login.expires_at <= now:
        raise Invalid("This login was answered already or has expired; begin it again.")
    login.answered_at = now
    login.answered_by_id = principal.user_id
    login.account_id = principal.account_id
    return login


def device_collect(*, device_code: str, origin: Origin) -> Minted:
    """The token, once. Raises ``NotYet``.

    It is minted by whoever approved, as what they are now: somebody who has left gives none.
    """
    with transaction.atomic():
        now = timezone.now()
        found = DeviceLogin.objects.select_for_update(of=("self",)).select_related("answered_by")
        login = found.filter(digest=keyed_digest(device_code)).first()
        refusal = _refusal(login, now)
        if login is None or refusal is not None:
            early = login is not None and _is_early(login, now)
            if login is not None:
                login.polled_at = now
                login.save(update_fields=["polled_at"])
        else:
            minted = _mint(login, origin)
            login.collected_at = now
            login.save(update_fields=["collected_at"])
            return minted
    # Outside of the transaction, which has noted when it was asked.
    if early and refusal is not None and refusal.error == "authorization_pending":
        raise NotYet("slow_down", f"Ask every {INTERVAL_SECONDS} seconds at most.")
    raise refusal or _unknown()


def _mint(login: DeviceLogin, origin: Origin) -> Minted:
    person = login.answered_by
    principal = principal_of_user(user=person, account_id=login.account_id) if person else None
    if principal is None:
        raise NotYet("access_denied", "Who approved this is no longer a member of the account.")
    try:
        minted = token_mint(
            principal=principal,
            name=login.token_name,
            scopes=login.scopes,
            expires_in_days=login.expires_in_days,
            origin=origin,
        )
    except (Forbidden, Invalid) as error:
        raise NotYet("access_denied", str(error)) from None
    minted.token.created_by = person  # known already, and nobody asks for it again
    return minted


def _refusal(login: DeviceLogin | None, now: datetime) -> NotYet | None:
    if login is None or login.collected_at is not None:
        return _unknown()
    if login.expires_at <= now:
        return NotYet("expired_token", "The login request expired. Run `orkestr login` again.")
    if login.answered_at is None:
        return NotYet("authorization_pending", "Nobody has answered in the console yet.")
    if not login.approved:
        return NotYet("access_denied", "The login was refused in the console.")
    return None


def _unknown() -> NotYet:
    return NotYet("invalid_grant", "This login is not known here, or its token was collected.")


def _is_early(login: DeviceLogin, now: datetime) -> bool:
    """With some room for networks that do not always take the same time."""
    gap = timedelta(seconds=0.75 * INTERVAL_SECONDS)
    return login.polled_at is not None and now - login.polled_at < gap
