"""How often something may be tried: sign-ins, codes, invitations."""

from __future__ import annotations

from collections.abc import Sequence
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


@dataclass(frozen=True, slots=True)
class Counted:
    """Attempts that are counted, and can be taken back where they were no guesses."""

    ids: tuple[int, ...]

    def take_back(self) -> None:
        """What succeeded is no attempt of a guesser."""
        Attempt.objects.filter(id__in=self.ids).delete()


def attempts_count(*tries: tuple[Limit, *tuple[object, ...]]) -> Counted:
    """One more of each limit and who it holds for. Raises ``TooManyAttempts``, and counts nothing.

    Counted before anything is looked at, so that of any number at once no more than ``most`` are.
    """
    now = timezone.now()
    Attempt.objects.filter(at__lt=now - _KEPT).delete()
    rows = [Attempt(key=_key(limit, who), at=now) for limit, *who in tries]
    counted = Counted(tuple(row.pk for row in Attempt.objects.bulk_create(rows)))
    for row, (limit, *_) in zip(rows, tries, strict=True):
        begin = now - timedelta(minutes=limit.minutes)
        if Attempt.objects.filter(key=row.key, at__gt=begin).count() > limit.most:
            counted.take_back()
            raise TooManyAttempts(f"Too many attempts. Try again in {limit.minutes} minutes.")
    return counted


def attempts_forget(limit: Limit, *who: object) -> None:
    """After a success."""
    Attempt.objects.filter(key=_key(limit, who)).delete()


def _key(limit: Limit, who: Sequence[object]) -> str:
    return keyed_digest("\x00".join(["attempt", limit.name, *map(str, who)]))
