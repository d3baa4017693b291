"""Passkeys: WebAuthn credentials that know who they are for, and check that it is them.

A passkey with user verification is both steps of a sign-in by itself.
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from typing import Any, Final

import orjson
import webauthn
from django.db import IntegrityError, transaction
from django.utils import timezone
from webauthn.helpers.exceptions import WebAuthnException
from webauthn.helpers.structs import (
    AuthenticatorSelectionCriteria,
    PublicKeyCredentialDescriptor,
    ResidentKeyRequirement,
    UserVerificationRequirement,
)

from accounts.errors import Invalid, NotFound
from accounts.factors import recovery_codes_end_alone
from accounts.models import Passkey, User
from accounts.origin import Origin
from accounts.services import person_record
from accounts.tokens import keyed_digest

MOST: Final = 20
LONGEST: Final = 20_000
"""Characters of what a browser answers."""

_WRONG: Final = "This passkey was not accepted. Try again, or sign in with your password."


@dataclass(frozen=True, slots=True)
class Site:
    """Where a passkey is good: ``host`` without a port, and the origin that a browser tells."""

    host: str
    origin: str

    @property
    def has_name(self) -> bool:
        """Browsers make passkeys for names, not for addresses."""
        try:
            ipaddress.ip_address(self.host.strip("[]"))
        except ValueError:
            return True
        return False


@dataclass(frozen=True, slots=True)
class Asked:
    """What a browser is asked for, as JSON, and the challenge that its answer must sign."""

    options: str
    challenge: bytes


def _check_name(site: Site) -> None:
    if not site.has_name:
        raise Invalid("Passkeys need a name: open the console by its name instead of an address.")


def passkey_ask_new(*, user: User, site: Site) -> Asked:
    """For a new passkey. Raises ``Invalid``."""
    _check_name(site)
    known = Passkey.objects.filter(user=user)
    if known.count() >= MOST:
        raise Invalid(f"{MOST} passkeys are the most; remove one first.")
    options = webauthn.generate_registration_options(
        rp_id=site.host,
        rp_name="orkestr",
        user_id=_handle(user),
        user_name=user.email,
        user_display_name=user.name or user.email,
        exclude_credentials=[
            PublicKeyCredentialDescriptor(id=bytes(one.credential_id)) for one in known
        ],
        authenticator_selection=AuthenticatorSelectionCriteria(
            resident_key=ResidentKeyRequirement.REQUIRED,
            user_verification=UserVerificationRequirement.REQUIRED,
        ),
    )
    return Asked(webauthn.options_to_json(options), options.challenge)


@transaction.atomic
def passkey_add(
    *, user: User, site: Site, challenge: bytes, answer: str, name: str, origin: Origin
) -> Passkey:
    """Raises ``Invalid``."""
    name = " ".join(name.split())[:100] or "Passkey"
    try:
        verified = webauthn.verify_registration_response(
            credential=_parsed(answer),
            expected_challenge=challenge,
            expected_rp_id=site.host,
            expected_origin=site.origin,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, KeyError, TypeError):
        raise Invalid("The browser's answer was not accepted. Try again.") from None
    try:
        with transaction.atomic():
            passkey = Passkey.objects.create(
                user=user,
                name=name,
                credential_id=verified.credential_id,
                public_key=verified.credential_public_key,
                sign_count=verified.sign_count,
                synced=verified.credential_backed_up,
            )
    except IntegrityError:
        raise Invalid("This passkey is known already.") from None
    person_record(user, "person.passkey_added", origin, name=name)
    return passkey


@transaction.atomic
def passkey_remove(*, user: User, passkey_id: int, origin: Origin) -> str:
    """Its name. Raises ``NotFound``."""
    passkey = Passkey.objects.select_for_update().filter(id=passkey_id, user=user).first()
    if passkey is None:
        raise NotFound("You have no such passkey.")
    passkey.delete()
    recovery_codes_end_alone(user)
    person_record(user, "person.passkey_removed", origin, name=passkey.name)
    return passkey.name


def passkey_ask(*, site: Site) -> Asked:
    """For any passkey of this site: the browser lets the person choose. Raises ``Invalid``."""
    _check_name(site)
    options = webauthn.generate_authentication_options(
        rp_id=site.host, user_verification=UserVerificationRequirement.REQUIRED
    )
    return Asked(webauthn.options_to_json(options), options.challenge)


@transaction.atomic
def passkey_check(*, site: Site, challenge: bytes, answer: str) -> User:
    """Whose it is. Raises ``Invalid``, in the same words whatever is wrong."""
    try:
        parsed = _parsed(answer)
        wanted = webauthn.base64url_to_bytes(str(parsed["rawId"]))
        rows = Passkey.objects.select_for_update(of=("self",)).select_related("user")
        passkey = rows.get(credential_id=wanted, user__is_active=True)
        verified = webauthn.verify_authentication_response(
            credential=parsed,
            expected_challenge=challenge,
            expected_rp_id=site.host,
            expected_origin=site.origin,
            credential_public_key=bytes(passkey.public_key),
            credential_current_sign_count=passkey.sign_count,
            require_user_verification=True,
        )
    except (WebAuthnException, ValueError, KeyError, TypeError, Passkey.DoesNotExist):
        raise Invalid(_WRONG) from None
    passkey.sign_count = verified.new_sign_count
    passkey.synced = verified.credential_backed_up
    passkey.last_used_at = timezone.now()
    passkey.save(update_fields=["sign_count", "synced", "last_used_at"])
    return passkey.user


def _parsed(answer: str) -> dict[str, Any]:
    if len(answer) > LONGEST:
        raise ValueError("longer than any answer")
    found = orjson.loads(answer)
    if not isinstance(found, dict):
        raise TypeError("no object")
    return found


def _handle(user: User) -> bytes:
    """What a passkey keeps of a person: the same for all of theirs, and no name."""
    return bytes.fromhex(keyed_digest(f"passkey {user.pk}"))
