"""From bytes to text: characters, escapes, NUL, gathering."""

from __future__ import annotations

import random

import pytest

from sandboxes.host.masking import Masker
from sandboxes.host.output import Gathered, Rendition, StreamText, parted, unfinished_character

TEXT = "naïve €5 \U0001f600 漢字\n"


def stream() -> StreamText:
    return StreamText(Masker(()))


@pytest.mark.parametrize("cut", range(len(TEXT.encode())))
def test_a_character_cut_in_two_is_shown_whole(cut: int) -> None:
    text, data = stream(), TEXT.encode()
    first, second = text.feed(data[:cut]), text.feed(data[cut:])
    assert "\ufffd" not in first + second
    assert first + second == TEXT


def test_what_is_not_utf8_shows_as_replacement_and_does_not_stay_back() -> None:
    text = stream()
    assert text.feed(b"a\xff\xfeb\x80") == "a\ufffd\ufffdb\ufffd"
    assert text.held == b""


def test_half_a_character_at_the_end_is_shown_as_one_replacement() -> None:
    text = stream()
    assert text.feed(b"x\xe2\x82") == "x"
    assert text.finish() == "\ufffd"


def test_nul_has_a_picture() -> None:
    assert stream().feed(b"a\0b") == "a\u2400b"


def test_an_escape_sequence_cut_in_two_comes_in_one_piece() -> None:
    text = stream()
    assert text.feed(b"a\x1b[3") == "a"
    assert text.feed(b"1mred") == "\x1b[31mred"
    assert text.rendition.codes == "31"


def test_an_endless_escape_is_not_held_back_for_ever() -> None:
    text = stream()
    for _ in range(100):
        text.feed(b"\x1b[" + b"1" * 40)
        assert len(text.held) <= 35


@pytest.mark.parametrize(
    ("codes", "state"),
    [
        ("1;31", "1;31"),
        ("31;0", ""),
        ("1;2;22;31", "31"),
        ("38;5;196;48;2;1;2;3", "38;5;196;48;2;1;2;3"),
        ("38:5:196", "38;5;196"),
        ("31;39;42;49", ""),
        ("91", "91"),
        ("38", ""),
        ("38;5", ""),
        ("", ""),
        ("999999999999", ""),
    ],
)
def test_the_state_of_colours_is_kept_short(codes: str, state: str) -> None:
    rendition = Rendition()
    rendition.feed(f"\x1b[{codes}m")
    assert rendition.codes == state
    assert Rendition(rendition.codes).codes == state


def test_other_escapes_change_no_colour() -> None:
    rendition = Rendition("31")
    rendition.feed("\x1b[2J\x1b[1;1H\x1b]0;title\x07\x1b[?25l")
    assert rendition.codes == "31"


def test_the_same_bytes_leave_the_same_state_however_they_are_cut() -> None:
    chance = random.Random(5)
    pieces = [
        b"\x1b[1;32m",
        b"\x1b[0m",
        "é€😀".encode(),
        b"secret1",
        b"sec",
        b"\0",
        b"\xff",
        b"ork_",
    ]
    for _ in range(200):
        data = b"".join(chance.choices(pieces, k=12))
        whole = StreamText(Masker({b"secret1"}))
        expected = whole.feed(data)
        cut = StreamText(Masker({b"secret1"}))
        text, at = "", 0
        while at < len(data):
            size = chance.randrange(1, 9)
            text += cut.feed(data[at : at + size])
            at += size
            cut = StreamText.restore(Masker({b"secret1"}), cut.save())
        assert (text, cut.save()) == (expected, whole.save())


def test_it_counts_what_it_has_shown() -> None:
    text = stream()
    text.feed(b"ab\xe2")
    assert (text.end, text.shown) == (3, 2)


def test_an_unfinished_character_is_found() -> None:
    assert unfinished_character(b"") == 0
    assert unfinished_character(b"abc") == 3
    assert unfinished_character("é".encode()) == 2
    assert unfinished_character(b"a\xc3") == 1
    assert unfinished_character(b"\xf0\x9f\x98") == 0
    assert unfinished_character(b"\x80\x80\x80\x80") == 4


def test_gathered_runs_keep_their_order() -> None:
    gathered = Gathered()
    for stream_name, data in [("stdout", b"a"), ("stdout", b"b"), ("stderr", b"c")]:
        gathered.add("stdout" if stream_name == "stdout" else "stderr", data)
    assert gathered.size == 3
    assert gathered.take() == [("stdout", b"ab"), ("stderr", b"c")]
    assert (gathered.size, gathered.take()) == (0, [])


def test_streams_that_alternate_wildly_become_one_run_each() -> None:
    gathered = Gathered()
    for _ in range(100):
        gathered.add("stdout", b"o")
        gathered.add("stderr", b"e")
    assert parted(gathered.take()) == [("stdout", b"o" * 100), ("stderr", b"e" * 100)]
