"""How often something may be tried: sign-ins, codes, invitations."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from django.utils import timezone

from accounts.models import Attempt
from accounts.tokens import keyed_digest

_KEPT: Final = timedelta(days=1)


class TooManyAttempts(Exception):  # noqa: N818 - reads as what it says
    """Try again later. The message is a sentence that says when."""


@dataclass(frozen=True, slots=True)
class Limit:
    """``most`` attempts of one key in a stretch of ``minutes``."""

    name: str
    most: int
    minutes: int


SIGN_IN_OF_ADDRESS: Final = Limit("sign-in of an address", 40, 15)
SIGN_IN_OF_PERSON: Final = Limit("sign-in of a person from an address", 8, 15)
SIGN_IN_TO_PERSON: Final = Limit("sign-in to a person from anywhere", 60, 15)
CODE_OF_PERSON: Final = Limit("second step of a person", 8, 15)
PROOF_OF_PERSON: Final = Limit("password again of a person", 8, 15)
INVITE_OF_ACCOUNT: Final = Limit("invitation of an account", 40, 60)
RESET_OF_ADDRESS: Final = Limit("password link asked for from an address", 20, 60)
RESET_TO_PERSON: Final = Limit("password link to a person", 5, 60)
ACCEPT_OF_ADDRESS: Final = Limit("invitation opened from an address", 40, 15)


def attempts_check(limit: Limit, *who: object) -> None:
    """Raise ``TooManyAttempts`` where no more are free; counts nothing."""
    begin = timezone.now() - timedelta(minutes=limit.minutes)
    tried = Attempt.objects.filter(key=_key(limit, who), at__gt=begin)
    if tried.count() >= limit.most:
        raise TooManyAttempts(f"Too many attempts. Try again in {limit.minutes} minutes.")


def attempt_note(limit: Limit, *who: object) -> None:
    """One more, and those of days ago go."""
    now = timezone.now()
    Attempt.objects.filter(at__lt=now - _KEPT).delete()
    Attempt.objects.create(key=_key(limit, who), at=now)


def attempts_forget(limit: Limit, *who: object) -> None:
    """After a success."""
    Attempt.objects.filter(key=_key(limit, who)).delete()


def _key(limit: Limit, who: tuple[object, ...]) -> str:
    return keyed_digest("\x00".join(["attempt", limit.name, *map(str, who)]))
