"""What a token looks like and when it is good, without a database."""

from __future__ import annotations

import re
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from accounts.tokens import Parsed, Refused, Stored, fresh, parse, verify

NOW = datetime(2030, 1, 1, tzinfo=UTC)


def stored(digest: str, **changes: object) -> Stored:
    values = {"expires_at": None, "revoked_at": None, "allowed_networks": [], **changes}
    return Stored(digest=digest, **values)  # type: ignore[arg-type]


def presented() -> tuple[Parsed, Stored]:
    new = fresh()
    parsed = parse(new.text)
    assert parsed is not None
    return parsed, stored(new.digest)


def test_it_is_read_back_as_the_row_that_was_made_for_it() -> None:
    new = fresh()
    assert new.text.startswith(f"ork_{new.lookup}")
    assert len(new.text) == 50
    assert parse(new.text) == Parsed(new.lookup, new.digest)


def test_no_two_are_alike_and_the_digest_does_not_hold_the_secret() -> None:
    made = [fresh() for _ in range(50)]
    assert len({one.lookup for one in made}) == len({one.text for one in made}) == 50
    assert all(one.text[12:44] not in one.digest for one in made)


@pytest.mark.parametrize(
    "spoil",
    [
        lambda text: text[:-1],
        lambda text: text + "x",
        lambda text: "oak_" + text[4:],
        lambda text: text[:20] + ("a" if text[20] != "a" else "b") + text[21:],
        lambda text: text[:-1] + "é",
        lambda text: "",
    ],
)
def test_a_spoiled_one_is_told_without_the_database(spoil: object) -> None:
    assert parse(spoil(fresh().text)) is None  # type: ignore[operator]


def test_the_digest_depends_on_the_pepper(settings: object) -> None:
    new = fresh()
    settings.TOKEN_PEPPER = "another"  # type: ignore[attr-defined]
    parsed = parse(new.text)
    assert parsed is not None
    assert parsed.lookup == new.lookup
    assert parsed.digest != new.digest


def test_a_good_one_passes() -> None:
    parsed, row = presented()
    verify(parsed, row, address="203.0.113.9", now=NOW)


def test_an_unknown_one_and_one_with_another_secret_are_refused_alike() -> None:
    parsed, _ = presented()
    with pytest.raises(Refused) as unknown:
        verify(parsed, None, address="", now=NOW)
    with pytest.raises(Refused) as wrong:
        verify(parsed, stored(fresh().digest), address="", now=NOW)
    assert str(unknown.value) == str(wrong.value)


def test_a_revoked_one_is_refused() -> None:
    parsed, row = presented()
    with pytest.raises(Refused, match="revoked"):
        verify(parsed, stored(row.digest, revoked_at=NOW), address="", now=NOW)


def test_an_expired_one_is_refused_from_the_very_moment() -> None:
    parsed, row = presented()
    late = stored(row.digest, expires_at=NOW)
    verify(parsed, late, address="", now=NOW - timedelta(microseconds=1))
    with pytest.raises(Refused, match="expired"):
        verify(parsed, late, address="", now=NOW)


@pytest.mark.parametrize(
    ("address", "good"),
    [
        ("192.0.2.7", True),
        ("::ffff:192.0.2.7", True),
        ("2001:db8::1", True),
        ("192.0.3.7", False),
        ("2001:db9::1", False),
        ("", False),
        ("nonsense", False),
    ],
)
def test_allowed_networks_keep_others_out(address: str, good: bool) -> None:
    parsed, row = presented()
    fenced = stored(row.digest, allowed_networks=["192.0.2.0/24", "2001:db8::/32"])
    if good:
        verify(parsed, fenced, address=address, now=NOW)
    else:
        with pytest.raises(Refused, match="network address"):
            verify(parsed, fenced, address=address, now=NOW)


def test_what_the_documents_tell_a_scanner_finds_every_token_and_its_checksum() -> None:
    text = (Path(__file__).parents[2] / "docs/tokens.md").read_text()
    shape = re.search(r"```\n(.+ork_.+)\n```", text)
    assert shape
    digits = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    for token in (fresh().text for _ in range(50)):
        (found,) = re.findall(shape[1], f'key = "{token}"; # next')
        assert found == token
        value = 0
        for character in token[-6:]:
            value = value * 62 + digits.index(character)
        assert value == zlib.crc32(token[:-6].encode())
