from __future__ import annotations

import re

import pytest

from timeline.ansi import to_html


def text_of(html: str) -> str:
    return re.sub("<[^>]*>", "", html)


def test_plain_text_stays_plain() -> None:
    assert to_html("hello\tworld\n") == "hello\tworld\n"


def test_markup_is_escaped_in_and_outside_of_colours() -> None:
    html = to_html("<b>&\"'\x1b[31m<script>")
    assert html == ('&lt;b&gt;&amp;&quot;&#x27;<span class="ansi-fg-1">&lt;script&gt;</span>')


@pytest.mark.parametrize(
    ("codes", "classes"),
    [
        ("1", "ansi-bold"),
        ("2;3;4;7;8;9", "ansi-dim ansi-italic ansi-underline ansi-inverse ansi-hidden ansi-strike"),
        ("31", "ansi-fg-1"),
        ("97;44", "ansi-fg-15 ansi-bg-4"),
        ("107", "ansi-bg-15"),
        ("38;5;9", "ansi-fg-9"),
        ("48;5;12", "ansi-bg-12"),
        ("38;5;196", "ansi-fg-9"),
        ("38;5;244;1", "ansi-bold ansi-fg-8"),
        ("38;2;250;5;5", "ansi-fg-9"),
        ("38:2::250:5:5", "ansi-fg-9"),
        ("38:2:250:5:5;1", "ansi-bold ansi-fg-9"),
        ("38;2;999999;0;0", "ansi-fg-9"),
        ("4:3;31", "ansi-underline ansi-fg-1"),
        ("1;;32", "ansi-fg-2"),
        ("31;39;1;22;4;24;41;49;3", "ansi-italic"),
        ("55;1", "ansi-bold"),
    ],
)
def test_colours_and_styles_become_classes(codes: str, classes: str) -> None:
    assert to_html(f"\x1b[{codes}mx") == f'<span class="{classes}">x</span>'


@pytest.mark.parametrize("codes", ["", "0", "38", "38;5", "38;2;1;2", "38;7;1", "999", "1;0", "48"])
def test_what_ends_or_is_no_style_is_plain(codes: str) -> None:
    assert to_html(f"\x1b[{codes}mx") == "x"


def test_a_chunk_goes_on_in_the_style_of_the_one_before() -> None:
    assert to_html("a\x1b[0mb", sgr="1;31") == '<span class="ansi-bold ansi-fg-1">a</span>b'
    assert to_html("a", sgr="\x1b[32m") == '<span class="ansi-fg-2">a</span>'


@pytest.mark.parametrize(
    "sequence",
    [
        "\x1b[2K",
        "\x1b[10;20H",
        "\x1b[?25l",
        "\x1b[>4;1m",
        "\x1b]0;a title\x07",
        "\x1b]8;;http://example.com\x1b\\",
        "\x1bP1$q\x1b\\",
        "\x1b(B",
        "\x1b7",
        "\x1bc",
    ],
)
def test_other_sequences_leave_nothing(sequence: str) -> None:
    assert to_html(f"a{sequence}b") == "ab"


def test_a_string_that_does_not_end_hides_nothing_behind_it() -> None:
    assert "rm -rf" in to_html("a\x1b]0;title\nrm -rf /\n")
    assert "rm -rf" in to_html("a\x1b]rm -rf /")


def test_progress_that_was_drawn_over_shows_as_it_was_left() -> None:
    assert to_html("start\r\n10%\r50%\r100%\ndone\n") == "start\n100%\ndone\n"
    assert to_html("10%\r50%\r") == "50%"
    assert to_html("\x1b[31m10%\r20%\n") == '<span class="ansi-fg-1">20%\n</span>'
    assert to_html("\x1b[31m10%\x1b[0m\r\x1b[K20%\n") == "20%\n"


@pytest.mark.parametrize(
    ("character", "sign"),
    [
        ("\x00", "\u2400"),
        ("\x07", "\u2407"),
        ("\x08", "\u2408"),
        ("\x7f", "\u2421"),
        ("\x9b", "U+009B"),
        ("\u202e", "U+202E"),
        ("\u2066", "U+2066"),
        ("\u200b", "U+200B"),
        ("\ufeff", "U+FEFF"),
        ("\U000e0041", "U+E0041"),
    ],
)
def test_what_cannot_be_seen_is_made_visible(character: str, sign: str) -> None:
    html = to_html(f"a{character}b")
    assert text_of(html) == f"a{sign}b"
    assert 'class="ansi-control"' in html


def test_other_scripts_and_signs_stay_as_they_are() -> None:
    text = "naïve — 日本語 عربى 🙂 ✓"
    assert to_html(text) == text


@pytest.mark.parametrize(
    "hostile",
    [
        "\x1b" * 32768,
        "\x1b[" * 16384,
        "\x1b]" * 16384,
        "\x1b]a\n" * 8192,
        "\x1b[1;" * 8192,
        "\r" * 32768,
        "x\r" * 16384,
        "x" * 32000 + "\r\r",
        "\x1b[" + "1;" * 16000 + "m",
        "\x1b[38;5;" + "9" * 30000 + "m",
        "\u202e" * 10922,
        "".join(f"\x1b[3{number % 8}mx" for number in range(5461)),
    ],
)
@pytest.mark.timeout(10)
def test_no_chunk_freezes_it(hostile: str) -> None:
    for _ in range(20):
        html = to_html(hostile)
    assert re.fullmatch(
        r'(?:[^<>]|<span class="[a-z0-9 -]+"(?: title="U\+[0-9A-F]+")?>|</span>)*', html
    )
    assert html.count("<span") == html.count("</span>")
