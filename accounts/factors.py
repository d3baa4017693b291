"""The second step of a sign-in: codes of an authenticator app (TOTP), and recovery codes."""

from __future__ import annotations

import secrets
import time
from dataclasses import dataclass
from typing import Final

import pyotp
from django.db import transaction
from django.utils import timezone

from accounts.attempts import CODE_OF_PERSON, attempts_count, attempts_forget
from accounts.errors import Invalid
from accounts.models import Authenticator, Passkey, RecoveryCode, User
from accounts.origin import Origin
from accounts.sealing import opened, sealed
from accounts.selectors import principal_of_user
from accounts.services import audit_record, person_record
from accounts.sessions import sessions_end_others
from accounts.tokens import keyed_digest
from timeline.events import Actor

STEP_SECONDS: Final = 30
RECOVERY_CODES: Final = 10
_ISSUER: Final = "orkestr"
# Without letters that are taken for others.
_LETTERS: Final = "abcdefghjkmnpqrstuvwxyz23456789"


@dataclass(frozen=True, slots=True)
class Factors:
    """What a person has beside their password."""

    authenticator: Authenticator | None
    recovery_left: int
    passkeys: list[Passkey]

    @property
    def second_step(self) -> bool:
        """Whether the password alone signs nobody in."""
        return self.authenticator is not None or bool(self.passkeys)


def factors_of(user: User) -> Factors:
    """Read afresh."""
    return Factors(
        authenticator=Authenticator.objects.filter(user=user).first(),
        recovery_left=RecoveryCode.objects.filter(user=user, used_at=None).count(),
        passkeys=list(Passkey.objects.filter(user=user).order_by("created_at")),
    )


def fresh_secret() -> str:
    """160 random bits in base32."""
    return pyotp.random_base32()


def provisioning_uri(*, user: User, secret: str) -> str:
    """What an app reads out of a QR code."""
    return pyotp.TOTP(secret).provisioning_uri(name=user.email, issuer_name=_ISSUER)


@transaction.atomic
def authenticator_add(*, user: User, secret: str, code: str, origin: Origin) -> list[str]:
    """Once a first code shows that the app has it; returns recovery codes. ``Invalid``."""
    step = _step_of(secret, code, after=0)
    if step is None:
        raise Invalid("That is not the code the app shows now. Check the clock of the device.")
    Authenticator.objects.update_or_create(
        user=user,
        defaults={"secret": sealed(secret), "last_step": step, "created_at": timezone.now()},
    )
    person_record(user, "person.authenticator_added", origin)
    return _fresh_codes(user)


@transaction.atomic
def authenticator_remove(*, user: User, origin: Origin) -> None:
    """With its recovery codes, unless a passkey still needs them. Idempotent."""
    gone, _ = Authenticator.objects.filter(user=user).delete()
    if not gone:
        return
    recovery_codes_end_alone(user)
    person_record(user, "person.authenticator_removed", origin)


def recovery_codes_end_alone(user: User) -> None:
    """They stand in for an app or a passkey; with neither left they go."""
    if not factors_of(user).second_step:
        RecoveryCode.objects.filter(user=user).delete()


@transaction.atomic
def recovery_codes_renew(*, user: User, origin: Origin) -> list[str]:
    """Ten new ones; those before are good for nothing."""
    person_record(user, "person.recovery_codes_renewed", origin)
    return _fresh_codes(user)


def _fresh_codes(user: User) -> list[str]:
    texts = ["".join(secrets.choice(_LETTERS) for _ in range(10)) for _ in range(RECOVERY_CODES)]
    RecoveryCode.objects.filter(user=user).delete()
    RecoveryCode.objects.bulk_create(
        RecoveryCode(user=user, digest=_digest(user, text)) for text in texts
    )
    return [f"{text[:5]}-{text[5:]}" for text in texts]


def _digest(user: User, text: str) -> str:
    return keyed_digest(f"recovery {user.pk} {text}")


def code_check(*, user: User, code: str, origin: Origin) -> str:
    """How ``code`` is good: ``totp`` or ``recovery``. Raises ``Invalid``, ``TooManyAttempts``.

    Each is good once. Wrong ones are counted, and are on the audit record.
    """
    attempts_count((CODE_OF_PERSON, user.pk))
    plain = "".join(letter for letter in code.lower() if letter.isalnum())[:40]
    how = "totp" if _spend_code(user, plain) else "recovery" if _spend_recovery(user, plain) else ""
    if not how:
        person_record(user, "person.code_refused", origin)
        raise Invalid("That code is not good, or was used already. Try the next one.")
    attempts_forget(CODE_OF_PERSON, user.pk)
    return how


@transaction.atomic
def _spend_code(user: User, code: str) -> bool:
    row = Authenticator.objects.select_for_update().filter(user=user).first()
    secret = row and opened(row.secret)
    step = _step_of(secret, code, after=row.last_step) if row and secret else None
    if row is None or step is None:
        return False
    row.last_step = step
    row.save(update_fields=["last_step"])
    return True


def _spend_recovery(user: User, code: str) -> bool:
    rows = RecoveryCode.objects.filter(user=user, digest=_digest(user, code), used_at=None)
    return bool(rows.update(used_at=timezone.now()))


def _step_of(secret: str, code: str, *, after: int) -> int | None:
    """The step of which ``code`` is: this one or a neighbour, later than ``after``."""
    if not (code.isascii() and code.isdecimal() and len(code) == 6):
        return None
    totp = pyotp.TOTP(secret)
    now = int(time.time()) // STEP_SECONDS
    good = [
        step
        for step in (now - 1, now, now + 1)
        if secrets.compare_digest(totp.generate_otp(step), code)
    ]
    return next((step for step in good if step > after), None)


@transaction.atomic
def second_step_reset(*, user: User, actor: Actor, origin: Origin) -> None:
    """For somebody who lost what they sign in with: the password alone does it from now on.

    All their sessions end. ``actor`` is who looks after the installation.
    """
    Authenticator.objects.filter(user=user).delete()
    RecoveryCode.objects.filter(user=user).delete()
    Passkey.objects.filter(user=user).delete()
    principal = principal_of_user(user=user)
    audit_record(
        principal=None,
        actor=actor,
        account_id=principal.account_id if principal else None,
        action="person.second_step_reset",
        target=user.email,
        origin=origin,
    )
    sessions_end_others(user=user, keep=None, origin=origin)
