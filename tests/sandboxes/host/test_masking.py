"""Secrets do not leave the host as events, however they are cut."""

from __future__ import annotations

import random

import pytest

from sandboxes.host.masking import MASK, Masker, secrets_of
from sandboxes.host.output import StreamText

TOKEN = b"ork_" + b"Ab3" * 15 + b"Z"


def shown(secrets: set[bytes], *chunks: bytes) -> str:
    """What a timeline would show of these chunks, one after another."""
    text = StreamText(Masker(secrets))
    return "".join([*map(text.feed, chunks), text.finish()])


def test_it_hides_long_values_and_leaves_short_ones() -> None:
    secrets = secrets_of({"KEY": "sekret", "DEBUG": "true1"})
    assert shown(set(secrets), b"sekret true1") == "[masked] true1"


def test_it_knows_the_values_that_are_no_secrets() -> None:
    assert secrets_of({"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"}) == frozenset()


def test_each_line_of_a_value_is_a_secret() -> None:
    secrets = secrets_of({"PEM": "-----BEGIN\nMIIabcdef\n\nab\n"})
    assert secrets == {b"-----BEGIN", b"MIIabcdef"}


def test_a_very_long_value_is_hidden_whole() -> None:
    value = "".join(chr(33 + n % 90) for n in range(1000))
    text = shown(set(secrets_of({"LONG": value})), b"<", value.encode(), b">")
    assert text.strip("<>").replace(MASK.decode(), "") == ""


def test_it_hides_tokens_of_the_platform() -> None:
    assert shown(set(), b"key " + TOKEN + b" end") == "key [masked] end"
    assert shown(set(), b"not ork_short") == "not ork_short"


@pytest.mark.parametrize("secret", [b"hunter2hunter2", "pässwörd€".encode(), b"aaaaaa", TOKEN])
def test_it_hides_a_secret_wherever_it_is_cut(secret: bytes) -> None:
    data = b"before " + secret + b" after"
    whole = shown({secret}, data)
    assert whole == "before [masked] after"
    for cut in range(len(data)):
        assert shown({secret}, data[:cut], data[cut:]) == whole


def test_it_hides_a_secret_that_comes_byte_by_byte() -> None:
    data = b"x hunter2 y hunter22 z " + TOKEN
    assert shown({b"hunter2"}, *(bytes([byte]) for byte in data)) == (
        "x [masked] y [masked]2 z [masked]"
    )


def test_the_longer_of_two_secrets_wins() -> None:
    secrets = {b"abcdef", b"abcdefgh"}
    assert shown(secrets, b"abcdef", b"gh.") == "[masked]."
    assert shown(secrets, b"abcdef", b"g.") == "[masked]g."


def test_text_in_between_is_never_lost_or_repeated() -> None:
    chance = random.Random(11)
    secrets = {b"aabaab", b"abaaba", b"bbbbbbb"}
    masker = Masker(secrets)
    for _ in range(400):
        data = bytes(chance.choices(b"ab c", k=chance.randrange(60)))
        cuts = sorted(chance.choices(range(len(data) + 1), k=chance.randrange(6)))
        parts = [data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)], strict=True)]
        assert shown(secrets, *parts) == masker.mask(data).decode()


def test_only_what_may_become_a_secret_is_held_back() -> None:
    masker = Masker({b"hunter2"})
    assert masker.split(b"ls -la\n") == 7
    assert masker.split(b"pass: hun") == 6
    assert masker.split(b"hunter2") == 7
    assert masker.split(b"ork_abc") == 0


def test_many_secrets_in_much_output_cost_little() -> None:
    """A sandbox that prints its own values over and over must not keep the host busy."""
    masker = Masker({f"secret{number:03}".encode() for number in range(200)})
    data = b"secret123" * 4000
    assert masker.split(data) == len(data)
    assert masker.mask(data) == MASK * 4000


def test_a_commands_line_is_masked_too() -> None:
    line = Masker({b"hunter2"}).mask_text("curl -H 'Authorization: hunter2' é")
    assert line == "curl -H 'Authorization: [masked]' é"
