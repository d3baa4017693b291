"""An account's own masking patterns: what its owners hide from timelines, recordings and outputs.

The sandbox's host looks for them (``sandboxes.host.patterns``), before anything leaves it. A
sandbox has those of the moment at which it was made.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from django.db import IntegrityError, transaction
from django.utils import timezone

from accounts.errors import Invalid, NotFound
from accounts.origin import Origin
from accounts.policy import Principal, Scope, require
from accounts.selectors import account_locked
from accounts.services import audit_record
from sandboxes.host.masking import Masker
from sandboxes.host.patterns import MOST, InvalidPattern, Patterns, check_pattern
from sandboxes.models import MaskingPattern

EXAMPLE_LONGEST: Final = 4000
_NAME_LONGEST: Final = 60
_NOWHERE: Final = Origin()
#: Ordinary words of ordinary output. What hides a third of them would leave little to watch.
_ORDINARY: Final = (
    "total 12 drwxr-xr-x root README.md src/app.py 2026-11-25 08:30:01 Hello, World! x = 1 OK "
    "PASSED [100%] error: line 42 GET /index.html 200 $ ls -la a I 0 7 --help {} # -> café "
    "Successfully installed numpy-2.1.0 https://example.org/docs user@example.org 3.14 True"
)


@dataclass(frozen=True, slots=True)
class Tried:
    """What an expression does to a text: its parts in turn, and whether each is hidden."""

    parts: list[tuple[str, bool]]

    @property
    def hidden(self) -> int:
        """How many secrets it found."""
        return sum(is_hidden for _, is_hidden in self.parts)


def patterns_of(account_id: str) -> list[MaskingPattern]:
    """In the order in which they were made."""
    return list(MaskingPattern.objects.filter(account_id=account_id).order_by("id"))


def pattern_for(*, principal: Principal, pattern_id: int) -> MaskingPattern:
    """Raises ``NotFound``, for another account's too."""
    rows = MaskingPattern.objects.filter(account_id=principal.account_id)
    pattern = rows.filter(id=pattern_id).first()
    if pattern is None:
        raise NotFound("There is no such pattern in this account.")
    return pattern


def pattern_try(*, expression: str, text: str) -> Tried:
    """Shows what a pattern would hide of ``text``. Raises ``Invalid``."""
    patterns = _checked(expression)
    data = text[:EXAMPLE_LONGEST].encode("utf-8", "replace")
    parts: list[tuple[str, bool]] = []
    at = 0
    for start, end in patterns.find(data, at_end=True).spans:
        parts.append((data[at:start].decode("utf-8", "replace"), False))
        parts.append((data[start:end].decode("utf-8", "replace"), True))
        at = end
    parts.append((data[at:].decode("utf-8", "replace"), False))
    return Tried([part for part in parts if part[0]])


@transaction.atomic
def pattern_save(
    *,
    principal: Principal,
    name: str,
    expression: str,
    example: str,
    pattern_id: int | None = None,
    origin: Origin = _NOWHERE,
) -> MaskingPattern:
    """Makes one, or changes the one with ``pattern_id``.

    ``example`` is what it has to hide part of, to prove that it does; it is not kept. Raises
    ``Invalid``, ``Forbidden`` and ``NotFound``.
    """
    require(principal, Scope.SETTINGS_WRITE)
    account_locked(principal.account_id)
    name = _checked_name(name)
    _check_use(expression, example)
    if pattern_id is None:
        pattern, before = _new(principal.account_id), {}
    else:
        pattern = pattern_for(principal=principal, pattern_id=pattern_id)
        before = _told(pattern)
    pattern.name, pattern.expression, pattern.changed_at = name, expression, timezone.now()
    try:
        with transaction.atomic():
            pattern.save()
    except IntegrityError:
        raise Invalid(f"There is a pattern with the name {name} already.") from None
    audit_record(
        principal=principal,
        action="masking.changed" if before else "masking.added",
        target=name,
        before=before,
        after=_told(pattern),
        origin=origin,
    )
    return pattern


@transaction.atomic
def pattern_remove(
    *, principal: Principal, pattern_id: int, origin: Origin = _NOWHERE
) -> MaskingPattern:
    """Raises ``Forbidden`` and ``NotFound``."""
    require(principal, Scope.SETTINGS_WRITE)
    pattern = pattern_for(principal=principal, pattern_id=pattern_id)
    pattern.delete()
    audit_record(
        principal=principal,
        action="masking.removed",
        target=pattern.name,
        before=_told(pattern),
        origin=origin,
    )
    return pattern


def _new(account_id: str) -> MaskingPattern:
    if MaskingPattern.objects.filter(account_id=account_id).count() >= MOST:
        raise Invalid(f"An account has at most {MOST} patterns. Remove one, or join two with |.")
    return MaskingPattern(account_id=account_id)


def _told(pattern: MaskingPattern) -> dict[str, str]:
    return {"name": pattern.name, "expression": pattern.expression}


def _checked_name(name: str) -> str:
    name = " ".join(name.split())
    if not name or len(name) > _NAME_LONGEST or not name.isprintable():
        raise Invalid(f"Give the pattern a name of at most {_NAME_LONGEST} characters.")
    return name


def _checked(expression: str) -> Patterns:
    try:
        check_pattern(expression)
        return Patterns([expression])
    except InvalidPattern as error:
        raise Invalid(str(error)) from None


def _check_use(expression: str, example: str) -> None:
    """That it hides something, and leaves something."""
    if not example.strip() or len(example) > EXAMPLE_LONGEST:
        raise Invalid(
            f"Give an example of up to {EXAMPLE_LONGEST} characters with a made-up secret."
        )
    if not pattern_try(expression=expression, text=example).hidden:
        if " " in expression or r"\s" in expression:
            raise Invalid(
                "It hides nothing in the example. Patterns are looked for within words, so leave "
                "out what is on the other side of a space."
            )
        raise Invalid("It hides nothing in the example. Change the one or the other until it does.")
    words = _ORDINARY.split()
    masker = Masker([], _checked(expression))
    left = len(set(words) & set(masker.mask_text(_ORDINARY).split()))
    if left < len(set(words)) * 2 / 3:
        raise Invalid(
            "It would hide much of what sandboxes ordinarily print, such as file names and dates. "
            "Say more of what only the secret has, such as its beginning or its length."
        )
