"""What owners describe is hidden, however the output is cut, and costs time in proportion to it."""

from __future__ import annotations

import random
import time
from collections.abc import Iterable, Sequence

import pytest

from sandboxes.host.masking import Masker
from sandboxes.host.output import StreamText
from sandboxes.host.patterns import (
    LONGEST,
    WINDOW,
    InvalidPattern,
    Patterns,
    check_pattern,
    patterns_of,
)

KEY = r"key-[0-9a-f]{8,40}"


def masker(*patterns: str, secrets: Iterable[bytes] = ()) -> Masker:
    return Masker(secrets, Patterns(patterns))


def fed(hides: Masker, chunks: Sequence[bytes]) -> tuple[str, list[dict[str, object]]]:
    """What a timeline would show of these chunks, and the state before each of them."""
    text, shown, states = StreamText(hides), [], []
    for chunk in chunks:
        states.append(text.save())
        shown.append(text.feed(chunk))
        assert len(text.held) <= WINDOW + 40
        text = StreamText.restore(hides, text.save())
    return "".join([*shown, text.finish()]), states


def halves(data: bytes) -> Iterable[tuple[bytes, bytes]]:
    return ((data[:cut], data[cut:]) for cut in range(len(data) + 1))


@pytest.mark.parametrize(
    ("patterns", "said", "shown"),
    [
        ([KEY], b"a key-0123abcd, key-0123\n", "a [masked], key-0123\n"),
        ([KEY], b"\x1b[31mkey-0123abcd\x1b[0m.", "\x1b[31m[masked]\x1b[0m."),
        ([r"\bsk_\w{4,}"], b'\x1b[1;32msk_abcd "sk_efgh"', '\x1b[1;32m[masked] "[masked]"'),
        ([r"^pin:\d+$"], b"pin:12 xpin:12 pin:34\r\npin:5x", "[masked] xpin:12 [masked]\r\npin:5x"),
        (["(?i)secret=[^&]+", KEY], b"/?SECRET=key-0123abcd&x=1", "/?[masked]&x=1"),
        (["пароль:.+"], "мой пароль:тайна€ да".encode(), "мой [masked] да"),
        (["foo[^x]*bar"], b"foo bar foo-bar foo\nbar", "foo bar [masked] foo\nbar"),
        (["ab|abcdef"], b"abcdef x", "[masked]cdef x"),
    ],
)
def test_a_match_is_hidden_wherever_it_is_cut(patterns: list[str], said: bytes, shown: str) -> None:
    hides = masker(*patterns)
    assert hides.mask(said).decode() == shown
    for cut in halves(said):
        assert fed(hides, cut)[0] == shown
    assert fed(hides, [bytes([byte]) for byte in said])[0] == shown


def test_however_it_is_cut_text_and_state_are_the_same() -> None:
    """Random text of a few letters, where patterns, values of the environment and words overlap."""
    chance = random.Random(7)
    hides = masker("ab+a", "^b|cc$", r"a.{3,9}\b", secrets={b"aab baa", b"c ccab", b"bbbbbbb"})
    for size in (*[40] * 250, *[6000] * 6):
        said = bytes(chance.choices(b"aabbcc \n\x1b[m\xc3\xa9", k=size))
        if size > 100:
            said = said.replace(b" ", b"a").replace(b"\n", b"b")
        cuts = sorted(chance.choices(range(size + 1), k=chance.randrange(9)))
        parts = [said[a:b] for a, b in zip([0, *cuts], [*cuts, size], strict=True)]
        whole, _ = fed(hides, [said])
        assert fed(hides, parts)[0] == whole
        for cut, state in zip(cuts, fed(hides, parts)[1][1:], strict=True):
            assert fed(hides, [said[:cut], b""])[1][1] == state


def test_a_pattern_is_found_anywhere_in_a_word_of_any_length() -> None:
    """As in JSON without spaces: no word ends it, and it is not held back until one does."""
    hides = masker("key-[0-9a-f]{500}")
    secret = b"key-" + b"0f" * 250
    for before in (*range(0, 40), *range(LONGEST - 4, LONGEST + 4), 1023, 1024, 1025, 3000):
        said = b"x" * before + secret + b'","y":"' + b"z" * 2000
        for cut in (before + 1, before + 100, before + 503, before + 504):
            shown, _ = fed(hides, [said[:cut], said[cut:]])
            assert shown == hides.mask(said).decode()
            assert shown.count("[masked]") == 1
            assert len(shown) == len(said) - len(secret) + len("[masked]")


def test_output_is_never_held_back_without_bound() -> None:
    """Values and patterns that overlap for ever are one secret, not one that waits for its end."""
    hides = masker("bbbaaa", secrets={b"aaa bbb"})
    text = StreamText(hides)
    shown = [text.feed(b"bbbaaa ") for _ in range(2000)]
    assert len(text.held) < 20
    assert "".join([*shown, text.finish()]) == "[masked] "


def test_overlapping_secrets_are_one() -> None:
    hides = masker("cde[a-z]", secrets={b"abcdefgh"})
    assert hides.mask(b"<abcdefgh> <cdef>") == b"<[masked]> <[masked]>"
    assert masker("cdefghi", secrets={b"abcdef"}).mask(b"<abcdefghi>") == b"<[masked]>"


def test_without_patterns_nothing_waits_for_a_word_to_end() -> None:
    assert StreamText(Masker([])).feed(b"half a lin") == "half a lin"
    assert StreamText(masker(KEY)).feed(b"half a lin") == "half a "


@pytest.mark.parametrize(
    ("expression", "says"),
    [
        ("", "1 to 300"),
        ("x" * 301, "1 to 300"),
        ("(", "missing )"),
        ("a)|(b", "unexpected )"),
        (r"(?=a)b", "perl operator"),
        (r"(a)\1", "escape"),
        ("((a{100}){100}){100}", "repetition"),
        ("a*", "no text at all"),
        (r"\b", "no text at all"),
        ("a||b", "no text at all"),
        ("^", "no text at all"),
        (r"\Akey", r"\A cannot"),
        (r"a\\\z", r"\z cannot"),
        (r"\C+", r"\C cannot"),
    ],
)
def test_what_cannot_be_looked_for_is_refused_with_the_reason(expression: str, says: str) -> None:
    with pytest.raises(InvalidPattern) as refused:
        check_pattern(expression)
    assert says in str(refused.value)
    assert "(?m)" not in str(refused.value)


def test_what_only_looks_like_it_is_not_refused() -> None:
    for expression in (r"\\Akey", r"[A-Z]\$x", "key_z", r"C:\\Zone"):
        check_pattern(expression)


def test_the_same_patterns_are_compiled_once() -> None:
    assert patterns_of((KEY,)) is patterns_of((KEY,))
    assert patterns_of(()) is None


def test_no_expression_takes_more_than_time_in_proportion() -> None:
    """The classic ones that take other engines years."""
    hides = masker("(a+)+b", "(a|aa)+c", "(.*a){20}d")
    begun = time.process_time()
    hides.mask(b"a" * 100_000)
    assert time.process_time() - begun < 20
