"""An account's masking patterns: who may change them, what is refused, and what is recorded."""

from __future__ import annotations

import pytest

from accounts.errors import Invalid, NotFound
from accounts.models import AuditEntry
from accounts.policy import Forbidden
from sandboxes.host.patterns import MOST
from sandboxes.limits import SandboxRequest
from sandboxes.masking import pattern_remove, pattern_save, pattern_try, patterns_of
from sandboxes.models import MaskingPattern
from sandboxes.reserving import sandbox_reserve
from tests.cast import Cast, make_cast

KEY = "acme_[0-9a-f]{8}"
EXAMPLE = "key: acme_0123abcd"


def save(
    account: Cast, name: str = "acme", expression: str = KEY, *, pattern_id: int | None = None
) -> MaskingPattern:
    return pattern_save(
        principal=account.principal(),
        name=name,
        expression=expression,
        example=EXAMPLE if expression == KEY else "a1 b2",
        pattern_id=pattern_id,
    )


def test_a_sandbox_is_made_with_the_patterns_of_its_account(account: Cast) -> None:
    save(account)
    save(make_cast(), "theirs", "theirs|a1")
    request = SandboxRequest(template="debian-12")
    _, spec = sandbox_reserve(principal=account.principal(), request=request)
    assert spec.masking == (KEY,)


def test_every_change_is_in_the_audit_record(account: Cast) -> None:
    pattern = save(account)
    save(account, "acme keys", r"acme_\w+|a1", pattern_id=pattern.id)
    pattern_remove(principal=account.principal(), pattern_id=pattern.id)
    entries = AuditEntry.objects.filter(account=account.account, action__startswith="masking.")
    first, second = (
        {"name": "acme", "expression": KEY},
        {"name": "acme keys", "expression": r"acme_\w+|a1"},
    )
    assert list(entries.order_by("id").values_list("action", "target", "before", "after")) == [
        ("masking.added", "acme", {}, first),
        ("masking.changed", "acme keys", first, second),
        ("masking.removed", "acme keys", second, {}),
    ]
    assert patterns_of(account.account.id) == []


@pytest.mark.parametrize("role", ["operator", "viewer"])
def test_owners_alone_change_them(account: Cast, role: str) -> None:
    pattern = save(account)
    who = account.principal(getattr(account, role))
    with pytest.raises(Forbidden):
        pattern_save(principal=who, name="x", expression=KEY, example=EXAMPLE)
    with pytest.raises(Forbidden):
        pattern_remove(principal=who, pattern_id=pattern.id)


def test_another_accounts_pattern_is_not_found(account: Cast) -> None:
    pattern = save(make_cast())
    with pytest.raises(NotFound):
        save(account, pattern_id=pattern.id)
    with pytest.raises(NotFound):
        pattern_remove(principal=account.principal(), pattern_id=pattern.id)


@pytest.mark.parametrize(
    ("name", "expression", "example", "says"),
    [
        ("", KEY, EXAMPLE, "Give the pattern a name"),
        ("x" * 61, KEY, EXAMPLE, "Give the pattern a name"),
        ("x\0", KEY, EXAMPLE, "Give the pattern a name"),
        ("x", "acme_[", EXAMPLE, "missing ]"),
        ("x", "x*", EXAMPLE, "no text at all"),
        ("x", KEY, "   ", "Give an example"),
        ("x", KEY, "a" * 4001, "Give an example"),
        ("x", KEY, "acme_xyz", "hides nothing in the example"),
        ("x", "key: acme", EXAMPLE, "other side of a space"),
        ("x", r"key:\s+acme", EXAMPLE, "other side of a space"),
        ("x", ".", EXAMPLE, "much of what sandboxes ordinarily print"),
        ("x", r"\S+", EXAMPLE, "much of what sandboxes ordinarily print"),
        ("x", "[a-z]{2,}", EXAMPLE, "much of what sandboxes ordinarily print"),
    ],
)
def test_what_would_hide_nothing_or_everything_is_refused_with_the_reason(
    account: Cast, name: str, expression: str, example: str, says: str
) -> None:
    with pytest.raises(Invalid) as refused:
        pattern_save(
            principal=account.principal(), name=name, expression=expression, example=example
        )
    assert says in str(refused.value)
    assert patterns_of(account.account.id) == []


def test_a_name_is_used_once_and_patterns_are_limited(account: Cast) -> None:
    first = save(account, "0")
    with pytest.raises(Invalid, match="name 0 already"):
        save(account, " 0 ")
    for number in range(1, MOST):
        save(account, str(number))
    with pytest.raises(Invalid, match=f"at most {MOST}"):
        save(account, "more")
    save(account, "renamed", pattern_id=first.id)
    with pytest.raises(Invalid, match="name 1 already"):
        save(account, "1", pattern_id=first.id)


def test_trying_shows_what_is_hidden_and_what_is_not() -> None:
    tried = pattern_try(expression=KEY, text=f"é {EXAMPLE}!\n{EXAMPLE}")
    assert tried.hidden == 2
    assert tried.parts == [
        ("é key: ", False),
        ("acme_0123abcd", True),
        ("!\nkey: ", False),
        ("acme_0123abcd", True),
    ]
