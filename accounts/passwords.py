"""What a password may be, saying it once more, and one that was forgotten.

A link to a new password is good once, for an hour, and for that only.
"""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.password_validation import validate_password
from django.contrib.auth.tokens import default_token_generator
from django.core.exceptions import ValidationError
from django.db import transaction
from django.utils.encoding import force_bytes
from django.utils.http import urlsafe_base64_encode

from accounts.attempts import (
    PROOF_OF_PERSON,
    RESET_OF_ADDRESS,
    RESET_TO_PERSON,
    attempts_count,
    attempts_forget,
)
from accounts.errors import Invalid
from accounts.models import User
from accounts.origin import Origin
from accounts.services import person_record
from accounts.sessions import sessions_end_others


@dataclass(frozen=True, slots=True)
class ResetLink:
    """The two parts of a link's path, and whose it is."""

    user: User
    uid: str
    token: str


def password_check(password: str, *, user: User) -> None:
    """Raises ``Invalid`` with every reason against it."""
    try:
        validate_password(password, user=user)
    except ValidationError as error:
        raise Invalid(" ".join(error.messages)) from None


def password_confirm(*, user: User, password: str, origin: Origin) -> bool:
    """Whether it is theirs. Wrong ones are counted, and are on the audit record.

    Raises ``TooManyAttempts``.
    """
    attempts_count((PROOF_OF_PERSON, user.pk))
    if not user.check_password(password):
        person_record(user, "person.password_refused", origin)
        return False
    attempts_forget(PROOF_OF_PERSON, user.pk)
    return True


def reset_ask(*, email: str, origin: Origin) -> None:
    """Count one more try, whether or not somebody has that address. ``TooManyAttempts``."""
    attempts_count((RESET_OF_ADDRESS, origin.network), (RESET_TO_PERSON, email))


def reset_link(*, email: str, origin: Origin) -> ResetLink | None:
    """A link for who signs in with that address by a password; None for anybody else."""
    user = User.objects.filter(email=email, is_active=True).first()
    if user is None or not user.has_usable_password():
        return None
    person_record(user, "person.password_link_asked", origin)
    uid = urlsafe_base64_encode(force_bytes(user.pk))
    return ResetLink(user, uid, default_token_generator.make_token(user))


@transaction.atomic
def password_reset(*, user: User, password: str, origin: Origin) -> None:
    """Ends every session of theirs, and links that were asked for. Raises ``Invalid``.

    A second step is asked for as before: a mailbox alone signs nobody in who has one.
    """
    password_check(password, user=user)
    user.set_password(password)
    user.save(update_fields=["password"])
    person_record(user, "person.password_reset", origin)
    sessions_end_others(user=user, keep=None, origin=origin)
